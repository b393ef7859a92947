"""What torchaudio's Conformer answers to weights and frames that both implementations can be given by formula.

    python -m tests.reference.conformer > tests/reference/conformer.json

where torchaudio is: it cannot be installed beside the CPU build of PyTorch that the tests use, so its numbers are kept.
"""

from __future__ import annotations

import json

import torch

D_MODEL, HEADS, HIDDEN, KERNEL, LAYERS, FRAMES, UTTERANCES = 8, 2, 12, 5, 2, 11, 2
_FEEDFORWARD = [f"{i}.{kind}" for i in (0, 1, 4) for kind in ("weight", "bias")]
# torchaudio's name of each tensor in a layer, and ours.
NAMES = {
    **{f"ffn1.sequential.{name}": f"feedforward1.{name}" for name in _FEEDFORWARD},
    **{f"ffn2.sequential.{name}": f"feedforward2.{name}" for name in _FEEDFORWARD},
    **{
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in {
            "self_attn_layer_norm": "attention_norm",
            "self_attn.out_proj": "self_attn.out_proj",
            "conv_module.layer_norm": "convolution.norm",
            "conv_module.sequential.0": "convolution.gated",
            "conv_module.sequential.2": "convolution.depthwise",
            "conv_module.sequential.3": "convolution.batch_norm",
            "conv_module.sequential.5": "convolution.pointwise",
            "final_layer_norm": "norm",
        }.items()
        for kind in ("weight", "bias")
    },
    "self_attn.in_proj_weight": "self_attn.in_proj_weight",
    "self_attn.in_proj_bias": "self_attn.in_proj_bias",
    "conv_module.sequential.3.running_mean": "convolution.batch_norm.running_mean",
    "conv_module.sequential.3.running_var": "convolution.batch_norm.running_var",
}


def fill(layer: torch.nn.Module, names: list[str]) -> None:
    """Gives the layer's tensors, in this order, numbers that follow from their place alone."""
    state = layer.state_dict()
    for i, name in enumerate(names):
        numbers = torch.sin(0.7 * torch.arange(state[name].numel(), dtype=torch.float64) + i)
        state[name].copy_((1.5 + numbers if name.endswith("running_var") else 0.5 * numbers).view_as(state[name]))


def frames() -> torch.Tensor:
    """(utterances, frames, d_model) to be answered."""
    count = UTTERANCES * FRAMES * D_MODEL
    return torch.cos(0.3 * torch.arange(count, dtype=torch.float32)).view(UTTERANCES, FRAMES, D_MODEL)


def main() -> None:
    import torchaudio

    model = torchaudio.models.Conformer(D_MODEL, HEADS, HIDDEN, LAYERS, KERNEL).eval()
    with torch.inference_mode():
        for layer in model.conformer_layers:
            fill(layer, list(NAMES))
        answers, _ = model(frames(), torch.full((UTTERANCES,), FRAMES))
    print(json.dumps({"torchaudio": torchaudio.__version__, "answers": answers.tolist()}))


if __name__ == "__main__":
    main()
