"""The PyTorch peer of `uncouple bench`: one JSON request a line on stdin, one JSON answer a line on stdout.

Float32 is without TF32, as in the implementations it is compared with; products in f16 and training in mixed precision
(autocast to bfloat16, which needs no loss scaling) are for those that do the same. Arrays come and go as raw
little-endian files. The first argument says `eager` or `compiled`.
"""

import json
import math
import os
import sys

import torch
from torch_loop import Iteration

VARIANT = sys.argv[1]


def best_device():
    if torch.cuda.is_available():
        return torch.device("cuda")
    if getattr(torch.backends, "mps", None) is not None and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


DEVICE = best_device()
torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.set_float32_matmul_precision("highest")


def blas():
    """The library behind products: what is loaded into this process, since Debian's torch takes the system's BLAS."""
    if DEVICE.type != "cpu":
        return {"cuda": "cuBLAS", "mps": "Metal"}[DEVICE.type]
    ones = torch.ones(64, 64)
    ones @ ones
    if torch.backends.mkl.is_available():
        return "MKL"
    loaded = set()
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps") as maps:
            loaded = {os.path.realpath(line.split()[-1]) for line in maps if ".so" in line}
    # where torch calls a libblas, that one computes, whatever else is loaded
    called = {path for path in loaded if os.path.basename(path).startswith("libblas")} or loaded
    for library, name in (("openblas", "OpenBLAS"), ("blis", "BLIS"), ("atlas", "ATLAS"), ("Accelerate", "Accelerate")):
        if any(library in path for path in called):
            return name
    return "reference BLAS" if called != loaded else "unknown BLAS"


def compiled(function):
    return torch.compile(function) if VARIANT == "compiled" else function


def wait():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    elif DEVICE.type == "mps":
        torch.mps.synchronize()


def read_floats(path, shape):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    return torch.frombuffer(data, dtype=torch.float32).reshape(shape).to(DEVICE)


def read_ids(path, shape):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    return torch.frombuffer(data, dtype=torch.int32).reshape(shape).to(DEVICE, dtype=torch.int64)


class Pure:
    """A function of fixed inputs."""

    def __init__(self, function, inputs):
        self.function = compiled(function)
        self.inputs = inputs

    def run(self, calls):
        with torch.no_grad():
            for _ in range(calls):
                self.function(*self.inputs)
        wait()

    def result(self):
        with torch.no_grad():
            return self.function(*self.inputs)


def matmul(request):
    M, N, K = request["M"], request["N"], request["K"]
    a = read_floats(request["a"], (K, M) if request["transposeA"] else (M, K))
    b = read_floats(request["b"], (N, K) if request["transposeB"] else (K, N))
    if request["precision"] == "f16":
        a, b = a.half(), b.half()

    def product(a, b):
        left = a.t() if request["transposeA"] else a
        right = b.t() if request["transposeB"] else b
        return left @ right

    return Pure(product, (a, b))


FUSED_ATTENTION = hasattr(torch.nn.functional, "scaled_dot_product_attention")


def attend(q, k, v):
    """q [B T H D], k and v [B T Kv D] -> [B, T, H D]; each key head serves H / Kv query heads in order."""
    groups = q.shape[2] // k.shape[2]
    q = q.transpose(1, 2)
    k = k.transpose(1, 2).repeat_interleave(groups, dim=1)
    v = v.transpose(1, 2).repeat_interleave(groups, dim=1)
    if FUSED_ATTENTION:
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:  # torch before 2.0
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        later = torch.ones(scores.shape[2:], dtype=torch.bool, device=q.device).triu(1)
        mixed = scores.masked_fill(later, -math.inf).softmax(-1) @ v
    return mixed.transpose(1, 2).flatten(2)


def attention(request):
    B, T, D = request["B"], request["T"], request["D"]
    q = read_floats(request["q"], (B, T, request["H"], D))
    k = read_floats(request["k"], (B, T, request["Kv"], D))
    v = read_floats(request["v"], (B, T, request["Kv"], D))
    return Pure(attend, (q, k, v))


def rotary_tables(T, D, theta):
    angle = [[t * theta ** (-2 * d / D) for d in range(D // 2)] for t in range(T)]
    cos = torch.tensor([[math.cos(value) for value in row] for row in angle])
    sin = torch.tensor([[math.sin(value) for value in row] for row in angle])
    shape = (1, T, 1, D // 2)
    return cos.reshape(shape).to(DEVICE), sin.reshape(shape).to(DEVICE)


class Training:
    """The Qwen2 decoder with AdamW."""

    def __init__(self, request):
        self.config = request["config"]
        self.B, self.T = request["B"], request["T"]
        self.weights = {
            entry["name"]: torch.nn.Parameter(read_floats(entry["path"], entry["shape"]))
            for entry in request["weights"]
        }
        self.tokens = read_ids(request["tokens"], (self.B, self.T))
        self.targets = read_ids(request["targets"], (self.B * self.T,))
        D = self.config["C"] // self.config["H"]
        self.cos, self.sin = rotary_tables(self.T, D, self.config["theta"])
        settings = request["optimizer"]
        matrices = [value for value in self.weights.values() if value.dim() > 1]
        vectors = [value for value in self.weights.values() if value.dim() == 1]
        groups = [
            {"params": matrices, "weight_decay": settings["weightDecay"]},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=settings["learningRate"],
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["epsilon"],
        )
        self.loss = compiled(self.forward)
        self.mixed = request["precision"] == "mixed"

    def norm(self, x, name):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config["epsilon"])
        return x * scale * self.weights[name]

    def linear(self, x, name):
        return torch.nn.functional.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def rotate(self, x, heads):
        first, second = x.reshape(self.B, self.T, heads, -1).chunk(2, dim=-1)
        low = first * self.cos - second * self.sin
        high = second * self.cos + first * self.sin
        return torch.cat((low, high), dim=-1)

    def forward(self):
        H, Kv = self.config["H"], self.config["Kv"]
        embedding = self.weights["model.embed_tokens.weight"]
        x = embedding[self.tokens]
        for layer in range(self.config["layers"]):
            name = f"model.layers.{layer}."
            normed = self.norm(x, name + "input_layernorm.weight")
            q = self.rotate(self.linear(normed, name + "self_attn.q_proj"), H)
            k = self.rotate(self.linear(normed, name + "self_attn.k_proj"), Kv)
            v = self.linear(normed, name + "self_attn.v_proj").reshape(self.B, self.T, Kv, -1)
            x = x + self.linear(attend(q, k, v), name + "self_attn.o_proj")
            wide = self.norm(x, name + "post_attention_layernorm.weight")
            gate = torch.nn.functional.silu(self.linear(wide, name + "mlp.gate_proj"))
            x = x + self.linear(gate * self.linear(wide, name + "mlp.up_proj"), name + "mlp.down_proj")
        hidden = self.norm(x, "model.norm.weight").flatten(0, 1)
        logits = torch.nn.functional.linear(hidden, embedding)
        return torch.nn.functional.cross_entropy(logits, self.targets)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=self.mixed):
            loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def run(self, calls):
        for _ in range(calls):
            self.step()
        wait()

    def losses(self, steps):
        return [self.step().item() for _ in range(steps)]


class Coupling:
    """Gradients of the log-probability of each of S sequences, and their Gram.

    `plain`: one backward pass of the sum. `gram`: functorch's vmap of grad, all gradients in memory, and their products.
    `separate`: a backward pass for each sequence, nothing kept.
    """

    def __init__(self, request):
        self.config, self.mode = request["config"], request["mode"]
        self.S, self.T = request["B"], request["T"]
        self.weights = {
            entry["name"]: read_floats(entry["path"], entry["shape"]).requires_grad_(True)
            for entry in request["weights"]
        }
        self.tokens = read_ids(request["tokens"], (self.S, self.T))
        self.targets = read_ids(request["targets"], (self.S, self.T))
        cos, sin = rotary_tables(self.T, self.config["C"] // self.config["H"], self.config["theta"])
        self.cos, self.sin = cos[0], sin[0]
        self.mask = torch.full((self.T, self.T), -math.inf, device=DEVICE).triu(1)
        if self.mode == "gram":
            from functorch import grad, vmap

            self.gradients = vmap(grad(self.log_prob), in_dims=(None, 0, 0))

    def heads(self, x, heads, turns=True):
        """[.. T, heads D] -> [.. heads, T, D], turned by position."""
        x = x.reshape(*x.shape[:-1], heads, -1)  # unflatten and vmap do not go together in 1.13
        if turns:
            first, second = x.chunk(2, dim=-1)
            low = first * self.cos - second * self.sin
            high = second * self.cos + first * self.sin
            x = torch.cat((low, high), dim=-1)
        return x.transpose(-3, -2)

    def log_prob(self, weights, tokens, targets):
        """Of one sequence [T], or the sum over several [S, T]."""
        H, Kv = self.config["H"], self.config["Kv"]

        def norm(x, name):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config["epsilon"]) * weights[name]

        def linear(x, name):
            return torch.nn.functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

        def shared(x):
            """[.. Kv, T, D] -> [.. H, T, D]; repeat_interleave and vmap do not go together in 1.13."""
            wide = x.unsqueeze(-3).expand(*x.shape[:-2], H // Kv, *x.shape[-2:])
            return wide.reshape(*x.shape[:-3], H, *x.shape[-2:])

        embedding = weights["model.embed_tokens.weight"]
        x = torch.nn.functional.embedding(tokens, embedding)
        for layer in range(self.config["layers"]):
            name = f"model.layers.{layer}."
            normed = norm(x, name + "input_layernorm.weight")
            q = self.heads(linear(normed, name + "self_attn.q_proj"), H)
            k = shared(self.heads(linear(normed, name + "self_attn.k_proj"), Kv))
            v = shared(self.heads(linear(normed, name + "self_attn.v_proj"), Kv, turns=False))
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.mask
            mixed = (torch.softmax(scores, -1) @ v).transpose(-3, -2).flatten(-2)
            x = x + linear(mixed, name + "self_attn.o_proj")
            wide = norm(x, name + "post_attention_layernorm.weight")
            gate = torch.nn.functional.silu(linear(wide, name + "mlp.gate_proj"))
            x = x + linear(gate * linear(wide, name + "mlp.up_proj"), name + "mlp.down_proj")
        logits = torch.nn.functional.linear(norm(x, "model.norm.weight"), embedding)
        chosen = torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1))
        return chosen.sum()

    def backward(self, tokens, targets):
        for weight in self.weights.values():
            weight.grad = None
        self.log_prob(self.weights, tokens, targets).backward()

    def step(self):
        if self.mode == "plain":
            self.backward(self.tokens, self.targets)
            return None
        if self.mode == "separate":
            for tokens, targets in zip(self.tokens, self.targets):
                self.backward(tokens, targets)
            return None
        gram = torch.zeros(self.S, self.S, device=DEVICE)
        frozen = {name: weight.detach() for name, weight in self.weights.items()}
        for gradient in self.gradients(frozen, self.tokens, self.targets).values():
            rows = gradient.flatten(1)
            gram += rows @ rows.t()
        return gram

    def run(self, calls):
        for _ in range(calls):
            self.step()
        wait()

    def result(self):
        return self.step()


def iteration(request):
    weights = {entry["name"]: read_floats(entry["path"], entry["shape"]) for entry in request["weights"]}
    with open(request["path"]) as file:
        return Iteration({**json.load(file), "config": request["config"]}, weights, DEVICE)


OPEN = {}


def answer(request):
    command = request["command"]
    if command == "hello":
        return {
            "version": torch.__version__,
            "device": DEVICE.type,
            "blas": blas(),
            "threads": torch.get_num_threads(),
            "fusedAttention": FUSED_ATTENTION,
        }
    makers = {
        "matmul": matmul,
        "attention": attention,
        "training_step": Training,
        "coupling": Coupling,
        "iteration": iteration,
    }
    if command in makers:
        make = makers[command]
        key = str(len(OPEN))
        OPEN[key] = make(request)
        return {"id": key}
    work = OPEN[request["id"]]
    if command == "run":
        work.run(request["calls"])
        return {}
    if command == "check":
        return work.check()
    if command == "phases":
        return work.phases()
    if command == "losses":
        return {"losses": work.losses(request["steps"])}
    if command == "result":
        values = work.result().detach().to("cpu", dtype=torch.float32).contiguous()
        with open(request["path"], "wb") as file:
            file.write(values.numpy().tobytes())
        return {}
    if command == "release":
        # the key stays taken, so that later ones differ
        OPEN[request["id"]] = None
        return {}
    raise ValueError(f"unknown command {command}")


def main():
    # compilers print; answers must stay alone on the real stdout
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # every failure becomes a row of the benchmark
            reply = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


main()
