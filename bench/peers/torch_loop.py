"""An iteration of RL in PyTorch: what `uncouple bench iteration` is held beside.

Prompts, the lengths of answers and the rows of the update come from an iteration that uncouple has played, so that the world, prompts
and tokenising cost nothing here. Play: the distinct prompts of a batch side by side, then a token at a time for all sequences with their
keys and values kept, the batch cut as answers end. Update: micro-batches of the same rows, the clipped objective, AdamW.
"""

import math
import time

import torch
from torch.nn.functional import cross_entropy, linear, silu


def rotary_tables(length, D, theta, device):
    """[length, 1, D / 2] each."""
    angle = torch.arange(length).double()[:, None] * theta ** (-torch.arange(0, D, 2).double() / D)
    return angle.cos().float()[:, None].to(device), angle.sin().float()[:, None].to(device)


def rotated(x, cos, sin):
    """x [.. heads, D] by tables that broadcast to [.. 1, D / 2]."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Model:
    """The Qwen2 decoder; matrices that read the same rows are one parameter."""

    def __init__(self, config, weights):
        self.layers, self.H, self.Kv = config["layers"], config["H"], config["Kv"]
        self.D = config["C"] // self.H
        self.epsilon = config["epsilon"]
        self.parameters = []

        def parameter(*names):
            value = torch.nn.Parameter(torch.cat([weights[name] for name in names]))
            self.parameters.append(value)
            return value

        self.embedding = parameter("model.embed_tokens.weight")
        self.last_norm = parameter("model.norm.weight")
        self.blocks = []
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            projections = [f"{at}self_attn.{part}_proj" for part in "qkv"]
            self.blocks.append(
                {
                    "norm": parameter(at + "input_layernorm.weight"),
                    "qkv": parameter(*[name + ".weight" for name in projections]),
                    "bias": parameter(*[name + ".bias" for name in projections]),
                    "out": parameter(at + "self_attn.o_proj.weight"),
                    "wide_norm": parameter(at + "post_attention_layernorm.weight"),
                    "gate_up": parameter(at + "mlp.gate_proj.weight", at + "mlp.up_proj.weight"),
                    "down": parameter(at + "mlp.down_proj.weight"),
                }
            )

    def norm(self, x, gain):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * gain

    def hidden(self, tokens, cos, sin, attend):
        """[.. C] of tokens [..]; `attend` gets the layer, q [.. H, D], k and v [.. Kv, D] and gives [.. C]."""
        x = self.embedding[tokens]
        for layer, block in enumerate(self.blocks):
            qkv = linear(self.norm(x, block["norm"]), block["qkv"], block["bias"])
            heads = qkv.unflatten(-1, (self.H + 2 * self.Kv, self.D))
            turned = rotated(heads[..., : self.H + self.Kv, :], cos, sin)
            q, k, v = turned[..., : self.H, :], turned[..., self.H :, :], heads[..., self.H + self.Kv :, :]
            x = x + linear(attend(layer, q, k, v), block["out"])
            gate, up = linear(self.norm(x, block["wide_norm"]), block["gate_up"]).chunk(2, -1)
            x = x + linear(silu(gate) * up, block["down"])
        return self.norm(x, self.last_norm)

    def logits(self, hidden):
        return linear(hidden, self.embedding)


def attended(q, k, v, mask):
    """q [B T H D] over k and v [B Kv S D], mask [B 1 1 T S] or [B 1 1 1 S] -> [B T (H D)]."""
    B, T, H, D = q.shape
    Kv = k.shape[1]
    grouped = q.reshape(B, T, Kv, H // Kv, D).permute(0, 2, 3, 1, 4).reshape(B, Kv, (H // Kv) * T, D)
    scores = (grouped @ k.transpose(-1, -2)).view(B, Kv, H // Kv, T, -1) / math.sqrt(D) + mask
    mixed = scores.softmax(-1).view(B, Kv, (H // Kv) * T, -1) @ v
    return mixed.view(B, Kv, H // Kv, T, D).permute(0, 3, 1, 2, 4).reshape(B, T, H * D)


class Batch:
    """Prompts that are answered together, the longest answers first, so that those that go on are the first rows."""

    def __init__(self, prompts, answers, device):
        order = sorted(range(len(prompts)), key=lambda row: -len(answers[row]))
        self.order = order
        distinct = sorted({tuple(prompt) for prompt in prompts})
        place = {prompt: index for index, prompt in enumerate(distinct)}
        self.T = max(len(prompt) for prompt in distinct)
        self.steps = max(len(answer) for answer in answers)
        # prompts end at the same place: a step writes its keys and values there for all
        pad = torch.tensor([self.T - len(prompt) for prompt in distinct])
        self.tokens = torch.tensor([[0] * (self.T - len(prompt)) + list(prompt) for prompt in distinct], device=device)
        self.position = (torch.arange(self.T) - pad[:, None]).clamp(min=0).to(device)
        self.source = torch.tensor([place[tuple(prompts[row])] for row in order], device=device)
        length = self.T + self.steps
        hidden = torch.zeros(len(distinct), 1, 1, 1, length).masked_fill(
            torch.arange(length) < pad[:, None, None, None, None], -math.inf
        )
        later = torch.full((self.T, self.T), -math.inf).triu(1)
        # a padded row has nothing to see: it sees itself, and nobody sees it
        self.prompt_mask = (hidden[..., : self.T] + later).to(device)
        self.prompt_mask.diagonal(dim1=-2, dim2=-1).fill_(0)
        self.mask = hidden.to(device)[self.source]
        self.start = (self.T - pad).to(device)[self.source]
        lengths = [len(answers[row]) for row in order]
        self.running = [sum(length > step for length in lengths) for step in range(self.steps)]
        self.given = [
            torch.tensor([answers[row][step] for row in order[: self.running[step]]], device=device)
            for step in range(self.steps)
        ]


class MicroBatch:
    """Rows of an update: their tokens in one line for the matrices, side by side for attention."""

    def __init__(self, rows, device):
        texts = [row["prompt"] + row["answer"][:-1] for row in rows]
        T = max(len(text) for text in texts)
        self.shape = (len(texts), T)
        real = torch.tensor([[t < len(text) for t in range(T)] for text in texts])
        place = real.flatten().cumsum(0) - 1
        self.tokens = torch.tensor([token for text in texts for token in text], device=device)
        self.position = torch.tensor([t for text in texts for t in range(len(text))], device=device)
        self.places = real.flatten().nonzero().flatten().to(device)
        self.scatter = place.clamp(min=0).to(device)
        self.mask = torch.full((T, T), -math.inf).triu(1).to(device)
        starts = [0]
        for text in texts:
            starts.append(starts[-1] + len(text))
        index = [start + len(row["prompt"]) - 1 + t for start, row in zip(starts, rows) for t in range(len(row["answer"]))]
        self.index = torch.tensor(index, device=device)
        self.targets = torch.tensor([token for row in rows for token in row["answer"]], device=device)
        self.advantages = torch.tensor([value for row in rows for value in row["advantages"]], device=device)
        self.weights = torch.tensor([value for row in rows for value in row["weights"]], device=device)


class Iteration:
    """@param weights by Hugging Face's names, float32 on the device"""

    def __init__(self, request, weights, device):
        config = request["config"]
        self.model = Model(config, weights)
        self.device = device
        self.temperature = request["temperature"]
        self.clip = (1 - request["clipLow"], 1 + request["clipHigh"])
        self.max_norm = request["maxGradNorm"]
        self.batches = [Batch(batch["prompts"], batch["answers"], device) for batch in request["batches"]]
        self.micro_batches = [MicroBatch(rows, device) for rows in request["microBatches"]]
        longest = max([batch.T + batch.steps for batch in self.batches] + [one.shape[1] for one in self.micro_batches])
        self.cos, self.sin = rotary_tables(longest, self.model.D, config["theta"], device)
        settings = request["optimizer"]
        matrices = [value for value in self.model.parameters if value.dim() > 1]
        vectors = [value for value in self.model.parameters if value.dim() == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings["weightDecay"]},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=settings["learningRate"],
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["epsilon"],
        )
        self.times = {"play": 0.0, "update": 0.0}
        self.count = 0
        # what is faster differs by sizes and threads: attention over padded rows alone, or all of the pass
        self.is_packed = True
        self.is_packed = self.seconds(True) <= self.seconds(False)

    def seconds(self, is_packed):
        self.is_packed = is_packed
        self.update()
        start = time.perf_counter()
        self.update()
        return time.perf_counter() - start

    def play(self, batch, forced=False):
        """Samples the answers. @returns log-probabilities of each step [running], of given tokens with `forced`"""
        model, T = self.model, batch.T
        keys, values = [], []

        def attend_prompt(_, q, k, v):
            keys.append(k.transpose(1, 2))
            values.append(v.transpose(1, 2))
            return attended(q, keys[-1], values[-1], batch.prompt_mask)

        position = batch.position
        hidden = model.hidden(batch.tokens, self.cos[position], self.sin[position], attend_prompt)
        logits = model.logits(hidden[:, -1])[batch.source]
        shape = (len(batch.order), model.Kv, T + batch.steps, model.D)
        for layer in range(model.layers):
            for cache in (keys, values):
                room = torch.empty(shape, device=self.device)
                room[:, :, :T] = cache[layer][batch.source]
                cache[layer] = room
        found = []
        for step, running in enumerate(batch.running):
            log_probs = (logits[:running] / self.temperature).log_softmax(-1)
            token = batch.given[step] if forced else log_probs.exp().multinomial(1).squeeze(1)
            found.append(log_probs.gather(1, token[:, None]).squeeze(1))
            if step + 1 == batch.steps:
                break
            going = batch.running[step + 1]
            at = T + step
            mask = batch.mask[:going, ..., : at + 1]

            def attend(layer, q, k, v):
                keys[layer][:going, :, at] = k
                values[layer][:going, :, at] = v
                own = (cache[layer][:going, :, : at + 1] for cache in (keys, values))
                return attended(q[:, None], *own, mask)[:, 0]

            place = batch.start[:going] + step
            logits = model.logits(model.hidden(token[:going], self.cos[place], self.sin[place], attend))
        return found

    def loss(self, rows):
        model = self.model
        B, T = rows.shape

        def over_padded(_, q, k, v):
            def padded(x):
                return x.index_select(0, rows.scatter).view(B, T, *x.shape[1:])

            mixed = attended(padded(q), padded(k).transpose(1, 2), padded(v).transpose(1, 2), rows.mask)
            return mixed.flatten(0, 1).index_select(0, rows.places)

        def all_padded(_, q, k, v):
            return attended(q, k.transpose(1, 2), v.transpose(1, 2), rows.mask)

        if self.is_packed:
            hidden = model.hidden(rows.tokens, self.cos[rows.position], self.sin[rows.position], over_padded)
            chosen = hidden.index_select(0, rows.index)
        else:
            tokens = rows.tokens[rows.scatter].view(B, T)
            hidden = model.hidden(tokens, self.cos[:T], self.sin[:T], all_padded)
            chosen = hidden.flatten(0, 1).index_select(0, rows.places[rows.index])
        log_probs = -cross_entropy(model.logits(chosen) / self.temperature, rows.targets, reduction="none")
        # one update on what was just sampled: the behaviour policy is the current one
        ratio = (log_probs - log_probs.detach()).exp()
        pushed = torch.minimum(ratio * rows.advantages, ratio.clamp(*self.clip) * rows.advantages)
        return -(rows.weights * pushed).sum()

    def update(self):
        self.optimizer.zero_grad(set_to_none=True)
        for rows in self.micro_batches:
            self.loss(rows).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters, self.max_norm)
        self.optimizer.step()
        return norm

    def run(self, calls):
        for _ in range(calls):
            start = time.perf_counter()
            with torch.inference_mode():
                for batch in self.batches:
                    log_probs = self.play(batch)
                torch.cat(log_probs).tolist()
            played = time.perf_counter()
            self.update().item()
            self.times["play"] += 1000 * (played - start)
            self.times["update"] += 1000 * (time.perf_counter() - played)
            self.count += 1

    def phases(self):
        return {name: total / self.count for name, total in self.times.items()}

    def check(self):
        """Log-probabilities of the given answers in the order of the batches, and the gradient's norm."""
        log_probs = []
        with torch.inference_mode():
            for batch in self.batches:
                steps = [values.tolist() for values in self.play(batch, forced=True)]
                answers = {row: [step[i] for step in steps if i < len(step)] for i, row in enumerate(batch.order)}
                for row in sorted(answers):
                    log_probs.extend(answers[row])
        return {"logProbs": log_probs, "gradNorm": self.update().item()}
