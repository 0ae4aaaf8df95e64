#!/usr/bin/env python3
"""What a Transformer of the size of configs/retnet_1.4b_fla.yaml takes to decode with a KV cache, beside which
`retain bench generate` is drawn (figure.py): LlamaForCausalLM of transformers in bf16 with random weights on one GPU.

One step of decoding is measured at an exact context: the cache is allocated once and filled with random keys and values,
each step writes the last position again, and the step is replayed as a CUDA graph where it can be captured. Every
attention that is installed is tried, and the fastest is the row. Needs PyTorch and transformers.

  tests/bench/inference/transformer.py transformer.csv [--batch 1,8,64] [--context 2048,8192,65536] [--tokens 32]
"""
import argparse
import contextlib
import csv
import gc
import statistics
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache

COLUMNS = ["batch", "context", "ms_per_token", "tokens_per_s", "memory_bytes", "attention", "graph"]
# 24 layers of 50.6 M parameters (ours: 50.9 M) and the same embedding and head.
SHAPE = dict(vocab_size=50304, hidden_size=2048, intermediate_size=5504, num_hidden_layers=24, num_attention_heads=16,
             num_key_value_heads=16, max_position_embeddings=131072, tie_word_embeddings=False)


class FixedCache(DynamicCache):
    """Keys and values of `context` tokens, of which each step writes the last: views, so that nothing is copied."""

    def __init__(self, config, batch, context):
        super().__init__()
        shape = (batch, config.num_key_value_heads, context, config.hidden_size // config.num_attention_heads)
        self.context = context
        self.pairs = []
        for _ in range(config.num_hidden_layers):
            pair = torch.empty((2, *shape), dtype=torch.bfloat16, device="cuda")
            self.pairs.append(pair.normal_())

    def update(self, key, value, layer, *_, **__):
        keys, values = self.pairs[layer]
        keys[:, :, -1:] = key
        values[:, :, -1:] = value
        return keys, values

    def get_seq_length(self, layer_idx=0):
        return self.context - 1

    def get_mask_sizes(self, *_, **__):
        return self.context, 0


def attentions():
    """(name, attn_implementation, what to run it in)"""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
        backend = getattr(SDPBackend, name, None)
        if backend is not None:
            yield f"sdpa, {name.lower()}", "sdpa", lambda backend=backend: sdpa_kernel(backend)
    with contextlib.suppress(ImportError):
        import flash_attn  # noqa: F401
        yield "flash_attention_2", "flash_attention_2", contextlib.nullcontext


def step_times(step, tokens):
    events = [torch.cuda.Event(enable_timing=True) for _ in range(tokens + 1)]
    for _ in range(5):
        step()
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


@torch.inference_mode()
def measure(model, batch, context, tokens):
    torch.cuda.reset_peak_memory_stats()
    cache = FixedCache(model.config, batch, context)
    ids = torch.zeros((batch, 1), dtype=torch.long, device="cuda")
    at = torch.tensor([context - 1], device="cuda")

    def forward():
        logits = model(input_ids=ids, position_ids=at.expand(batch, 1), cache_position=at, past_key_values=cache,
                       use_cache=True).logits
        ids.copy_(logits[:, -1].argmax(-1, keepdim=True))

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    step, graphed = forward, False
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward()
        step, graphed = graph.replay, True
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # a step that asks the host for something
        torch.cuda.synchronize()
        print(f"not captured: {error}", file=sys.stderr)
    ms = step_times(step, tokens)
    return ms, graphed, torch.cuda.max_memory_allocated()


def fastest(model, batch, context, tokens):
    best = None
    for name, implementation, scope in attentions():
        try:
            model.set_attn_implementation(implementation)
            with scope():
                ms, graphed, memory = measure(model, batch, context, tokens)
        except torch.cuda.OutOfMemoryError:
            print(f"{name}: out of memory at batch {batch}, context {context}", file=sys.stderr)
            continue
        except Exception as error:  # an attention that does not serve this shape
            print(f"{name}: {error}", file=sys.stderr)
            continue
        finally:
            gc.collect()
            torch.cuda.empty_cache()
        print(f"batch {batch} context {context} {name}: {ms:.3f} ms, graph {graphed}", file=sys.stderr)
        if best is None or ms < best[0]:
            best = ms, memory, name, graphed
    return best


def numbers(text):
    return [int(x) for x in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--batch", type=numbers, default=[1, 8, 64])
    parser.add_argument("--context", type=numbers, default=[2048, 4096, 8192, 16384, 32768, 65536])
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()

    torch.manual_seed(1)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    print(f"{sum(p.numel() for p in model.parameters())} parameters on {torch.cuda.get_device_name()}", file=sys.stderr)
    pair_bytes = 2 * 2 * SHAPE["num_hidden_layers"] * SHAPE["hidden_size"]
    room = torch.cuda.get_device_properties(0).total_memory - torch.cuda.memory_allocated()
    with open(options.out, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for batch in options.batch:
            for context in options.context:
                best = fastest(model, batch, context, options.tokens) if batch * context * pair_bytes < room else None
                if best is None:  # what it would take, and no time
                    needed = torch.cuda.memory_allocated() + batch * context * pair_bytes
                    rows.writerow([batch, context, "", "", needed, "out of memory", ""])
                else:
                    ms, memory, name, graphed = best
                    rows.writerow([batch, context, f"{ms:.4f}", f"{1e3 * batch / ms:.1f}", memory, name, int(graphed)])
                file.flush()


if __name__ == "__main__":
    main()
