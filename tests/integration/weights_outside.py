"""Weights as other libraries load them.

  weights_outside.py has torchscale|fla          whether it can be tried here
  weights_outside.py torchscale EXPORT GOLDEN    loads an export by torchscale's own class; GOLDEN is a folder for
  weights_outside.py fla EXPORT GOLDEN           `retain checkpoint check`: the export with the class's results
  weights_outside.py make-torchscale GOLDEN      the same of a model that torchscale's code has made
  weights_outside.py same ONE OTHER              whether two folders hold the same tensors
"""
import json
import pathlib
import shutil
import sys
import warnings

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

TOKENS = 64


def sequences(vocab_size):
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(vocab_size, (2, TOKENS + 1), generator=generator)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def write_golden(folder, logits_of, vocab_size, model=None):
    """logits and loss, and of a model that computes them with gradients these too."""
    tokens, targets = sequences(vocab_size)
    logits = logits_of(tokens).cpu()
    loss = F.cross_entropy(logits.double().flatten(0, 1), targets.flatten())
    tensors = {"tokens": tokens.int(), "targets": targets.int(), "logits": logits.detach().float(),
               "loss": loss.detach().float().reshape(1)}
    if model is not None:
        loss.backward()
        for name, parameter in model.named_parameters():
            tensors[f"grad.{name}"] = parameter.grad.float()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, f"{folder}/golden.safetensors")


def copy(export, golden):
    shutil.copytree(export, golden)
    return json.load(open(f"{golden}/config.json"))


def torchscale_decoder(arguments):
    from torchscale.architecture.config import RetNetConfig
    from torchscale.architecture.retnet import RetNetDecoder

    config = RetNetConfig(**arguments)
    embeddings = torch.nn.Embedding(config.vocab_size, config.decoder_embed_dim)
    return RetNetDecoder(config, embed_tokens=embeddings).double().eval()


def torchscale_logits(decoder):
    return lambda tokens: decoder(tokens, features_only=False)[0]


def use_own_tables(decoder):
    """Its tables in float64: in float32, as they are stored, they are some 1e-6 off at the end of 64 tokens."""
    table = decoder.retnet_rel_pos
    pairs = table.angle.numel() // 2
    angle = 1.0 / (10000 ** torch.linspace(0, 1, pairs, dtype=torch.float64))
    stored = table.angle.clone()
    table.angle = angle.repeat_interleave(2)
    heads = torch.arange(table.decay.numel(), dtype=torch.float64)
    decay = torch.log1p(-(2.0 ** (-5 - heads)))
    assert torch.allclose(stored, table.angle, rtol=1e-6), "other angles"
    assert torch.allclose(table.decay, decay, rtol=1e-5), "other decays"
    table.decay = decay


def check_torchscale(export, golden):
    config = copy(export, golden)
    decoder = torchscale_decoder(config)
    decoder.load_state_dict(load_file(f"{export}/model.safetensors"), strict=True)
    use_own_tables(decoder)
    write_golden(golden, torchscale_logits(decoder), config["vocab_size"], decoder)


def make_torchscale(folder):
    pathlib.Path(folder).mkdir()
    torch.manual_seed(1)
    arguments = dict(decoder_embed_dim=32, decoder_value_embed_dim=64, decoder_retention_heads=4,
                     decoder_ffn_embed_dim=48, decoder_layers=2, vocab_size=257, activation_fn="swish",
                     no_scale_embedding=False)
    decoder = torchscale_decoder(arguments)
    decoder.float()
    save_file({name: tensor.contiguous() for name, tensor in decoder.state_dict().items()},
              f"{folder}/model.safetensors")
    json.dump(arguments, open(f"{folder}/config.json", "w"))
    decoder.double()
    use_own_tables(decoder)
    write_golden(folder, torchscale_logits(decoder), arguments["vocab_size"], decoder)


def use_pytorch_for_kernels():
    """fla's classes without its kernels, for a machine without a GPU: its own reference of retention, and PyTorch."""
    from fla.layers import multiscale_retention as layer
    from fla.modules import FusedRMSNormGated, RMSNorm, mlp
    from fla.modules.rotary import RotaryEmbedding, rotary_embedding_ref
    from fla.ops.retention.naive import naive_retention

    def retention(q, k, v, **_):
        return naive_retention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2), None

    def rms_norm(self, x, residual=None, prenorm=False, **_):
        x = x if residual is None else x + residual
        y = F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return (y, x) if prenorm else y

    def gated_norm(self, x, g, **_):
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps) * F.silu(g)

    def rotary(self, q, k, max_seqlen, **_):
        self._update_cos_sin_cache(max_seqlen, device=q.device, dtype=q.dtype)
        return (rotary_embedding_ref(x, self._cos_cached, self._sin_cached) for x in (q, k))

    layer.fused_recurrent_retention = retention
    mlp.swiglu_linear = lambda x, y, weight, bias: F.linear(F.silu(x) * y, weight, bias)
    RMSNorm.forward, FusedRMSNormGated.forward, RotaryEmbedding.forward = rms_norm, gated_norm, rotary


def check_fla(export, golden):
    from fla.models import RetNetForCausalLM

    config = copy(export, golden)
    model, about = RetNetForCausalLM.from_pretrained(export, output_loading_info=True, dtype=torch.float32)
    assert not any(about.values()), about
    if torch.cuda.is_available():
        model = model.cuda()
    else:
        use_pytorch_for_kernels()
    # Without gradients it decodes sequences this short by its recurrent kernel, whose float32 is float32.
    with torch.no_grad():
        write_golden(golden, lambda tokens: model.eval()(tokens.to(model.device)).logits, config["vocab_size"])


def same(one, other):
    first, second = (load_file(f"{folder}/model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    for name, tensor in first.items():
        tables = name.startswith("retnet_rel_pos.")  # torchscale's are of float32, ours are rounded from float64
        assert torch.allclose(tensor, second[name], rtol=1e-5) if tables else torch.equal(tensor, second[name]), name


def has(library):
    if library == "torchscale":
        import torchscale.architecture.retnet  # noqa: F401
    else:
        import fla.models  # noqa: F401


warnings.simplefilter("ignore")  # of libraries about each other
VERBS = {"torchscale": check_torchscale, "fla": check_fla, "make-torchscale": make_torchscale, "same": same, "has": has}
VERBS[sys.argv[1]](*sys.argv[2:])
