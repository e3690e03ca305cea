"""Log-probabilities of token sequences under a Qwen2 folder in float64, by numpy alone: what `uncouple score` is held against.

    python3 bench/peers/qwen2_float64.py MODEL tokens.json > expected.json
    uncouple score --model MODEL --tokens tokens.json --json > found.json

It shares no line with the engine: it reads config.json and safetensors itself, one tensor at a time.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np


def tensors(folder):
    """Name -> (file, dtype, shape, first byte, end)."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                first, end = entry["data_offsets"]
                found[name] = (path, entry["dtype"], entry["shape"], 8 + length + first, 8 + length + end)
    return found


def reader(folder):
    index = tensors(folder)

    def read(name):
        path, dtype, shape, first, end = index[name]
        with open(path, "rb") as file:
            file.seek(first)
            data = file.read(end - first)
        if dtype == "BF16":
            values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[dtype])
        return values.reshape(shape).astype(np.float64)

    return read, index


def log_probs(config, read, names, tokens):
    n = len(tokens)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["hidden_size"] // heads
    rope = config.get("rope_parameters") or config
    frequencies = float(rope["rope_theta"]) ** (-np.arange(0, width, 2) / width)
    angles = np.outer(np.arange(n), frequencies)
    cosines, sines = (np.concatenate([part, part], 1)[:, None] for part in (np.cos(angles), np.sin(angles)))

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * read(name)

    def rotate(x):
        first, second = np.split(x, 2, -1)
        return x * cosines + np.concatenate([-second, first], -1) * sines

    embedding = read("model.embed_tokens.weight")
    x = embedding[tokens]
    future = np.triu(np.full((n, n), -np.inf), 1)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm.weight")
        q, k, v = (
            (h @ read(f"{at}self_attn.{p}_proj.weight").T + read(f"{at}self_attn.{p}_proj.bias")).reshape(n, -1, width)
            for p in "qkv"
        )
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(part, heads // groups, 1) for part in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(width) + future
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        x = x + np.einsum("hts,shd->thd", scores, v).reshape(n, -1) @ read(at + "self_attn.o_proj.weight").T
        h = norm(x, at + "post_attention_layernorm.weight")
        gate = h @ read(at + "mlp.gate_proj.weight").T
        inner = gate / (1 + np.exp(-gate)) * (h @ read(at + "mlp.up_proj.weight").T)
        x = x + inner @ read(at + "mlp.down_proj.weight").T
    tied = config.get("tie_word_embeddings", "lm_head.weight" not in names)
    logits = norm(x, "model.norm.weight") @ (embedding if tied else read("lm_head.weight")).T
    logits -= logits.max(-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return [float(logits[t, token]) for t, token in enumerate(tokens[1:])]


def main():
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    read, names = reader(folder)
    sequences = json.loads(Path(sys.argv[2]).read_text())
    print(json.dumps({"sequences": [{"logProbs": log_probs(config, read, names, tokens)} for tokens in sequences]}))


main()
