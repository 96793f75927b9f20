"""The same training in PyTorch: diffusers' DiT, served.

    python -m benchmarks.parts.torch_side --exchange=DIR --how=eager|compiled

On the GPU where --device says so. bfloat16 is autocast over float32 weights.

Diffusers gives every block an embedder of time and label of its own, which converted
checkpoints fill with copies; DiT has one, and here all blocks share one, so that both
sides have the same parameters.
"""

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.parts import served

FIXED: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 8,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
    "norm_eps": 1e-6,
}
Tensors = dict[str, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchange", type=Path, required=True)
    parser.add_argument("--how", choices=("eager", "compiled"), required=True)
    parser.add_argument("--size", choices=served.SIZES, default="s/2")
    parser.add_argument("--dtype", choices=served.DTYPES, default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    given = load_file(options.exchange / "exchange.safetensors")
    given = {name: value.to(options.device) for name, value in given.items()}
    model = build(served.SIZES[options.size]).to(options.device)
    model.load_state_dict(renamed(given, model.config.num_layers), strict=True)
    precision = torch.autocast(
        options.device, torch.bfloat16, enabled=options.dtype == "bfloat16"
    )
    batch_size = len(given["x"])
    facts = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "forward_flops": forward_flops(model, batch_size),
    }
    with precision:
        facts["differences"] = differences(model, given)
    step = make_step(model, options.how, given["labels"].long(), precision)
    torch.cuda.empty_cache()  # the other sides are on the same GPU

    def waited() -> None:
        step()
        if options.device == "cuda":
            torch.cuda.synchronize()

    waited()  # compiles
    waited()
    served.serve(facts, waited)


def build(size: dict[str, int]) -> torch.nn.Module:
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=size["num_heads"],
        attention_head_dim=size["hidden_size"] // size["num_heads"],
        num_layers=size["depth"],
        **FIXED,
    )
    shared = model.transformer_blocks[0].norm1.emb
    shared.time_proj.downscale_freq_shift = 0  # DiT's frequencies; diffusers has 1
    shared.class_embedder.dropout_prob = 0  # the step draws, once for all blocks
    for block in model.transformer_blocks:
        block.norm1.emb = shared
    return model


def renamed(given: Tensors, num_layers: int) -> Tensors:
    """DiT's parameters under diffusers' names."""
    theirs = {
        name.removeprefix("weights/"): tensor
        for name, tensor in given.items()
        if name.startswith("weights/")
    }
    ours: Tensors = {}

    def take(name: str, source: str) -> None:
        for end in ("weight", "bias"):
            ours[f"{name}.{end}"] = theirs[f"{source}.{end}"]

    take("pos_embed.proj", "x_embedder.proj")
    take("proj_out_1", "final_layer.adaLN_modulation.1")
    take("proj_out_2", "final_layer.linear")
    for i in range(num_layers):
        block, source = f"transformer_blocks.{i}", f"blocks.{i}"
        embedder = f"{block}.norm1.emb"
        take(f"{embedder}.timestep_embedder.linear_1", "t_embedder.mlp.0")
        take(f"{embedder}.timestep_embedder.linear_2", "t_embedder.mlp.2")
        table = "embedding_table.weight"
        ours[f"{embedder}.class_embedder.{table}"] = theirs[f"y_embedder.{table}"]
        take(f"{block}.norm1.linear", f"{source}.adaLN_modulation.1")
        take(f"{block}.attn1.to_out.0", f"{source}.attn.proj")
        take(f"{block}.ff.net.0.proj", f"{source}.mlp.fc1")
        take(f"{block}.ff.net.2", f"{source}.mlp.fc2")
        for end in ("weight", "bias"):
            parts = theirs[f"{source}.attn.qkv.{end}"].chunk(3)
            for name, part in zip("qkv", parts, strict=True):
                ours[f"{block}.attn1.to_{name}.{end}"] = part
    return ours


def prediction(
    model: torch.nn.Module, x: torch.Tensor, steps: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The noise in x [B, C, H, W]; the other half of the channels is the variance."""
    out = model(x, timestep=steps, class_labels=labels).sample
    return out[:, : x.shape[1]]


def differences(model: torch.nn.Module, given: Tensors) -> dict[str, float]:
    """How far this model's output, loss and gradient are from the other side's."""
    x, target, out = (
        given[name][:, 0].permute(0, 3, 1, 2) for name in ("x", "target", "out")
    )
    predicted = prediction(model, x, given["steps"], given["labels"].long())
    loss = torch.nn.functional.mse_loss(predicted.float(), target)
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))
    model.zero_grad()
    return {
        "output_max_absolute": (predicted - out).abs().max().item(),
        "output_max": out.abs().max().item(),
        "loss_relative": (loss / given["loss"] - 1).abs().item(),
        "gradient_norm_relative": (norm / given["grad_norm"] - 1).abs().item(),
    }


def forward_flops(model: torch.nn.Module, batch_size: int) -> int:
    """Two a multiply-add of all products; plain attention, for the counter to see."""
    where = model.device
    x = torch.zeros(batch_size, FIXED["in_channels"], 32, 32, device=where)
    zeros = torch.zeros(batch_size, dtype=torch.long, device=where)
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), plain, FlopCounterMode(display=False) as counter:
        prediction(model, x, zeros, zeros)
    return counter.get_total_flops()


def make_step(
    model: torch.nn.Module, how: str, labels: torch.Tensor, precision: torch.autocast
):
    """DiT's training: noise, times and dropped labels, AdamW (fused), EMA."""
    model.train()
    params = list(model.parameters())
    ema = [p.detach().clone() for p in params]
    optimizer = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.0, fused=True)
    where = labels.device
    x0 = torch.randn(len(labels), FIXED["in_channels"], 32, 32, device=where)
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=where), dim=0)
    run = torch.compile(model) if how == "compiled" else model

    def step() -> None:
        steps = torch.randint(0, 1000, labels.shape, device=where)
        dropped = torch.rand(labels.shape, device=where) < 0.1
        told = torch.where(dropped, FIXED["num_embeds_ada_norm"], labels)
        noise = torch.randn_like(x0)
        alpha = alphas[steps].reshape(-1, 1, 1, 1)
        xt = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        with precision:
            predicted = prediction(run, xt, steps, told)
            loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(ema, params, 1e-4)

    return step


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
