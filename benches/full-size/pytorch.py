"""The rows of `glmtune bench train` with the published PyTorch code and PEFT: a line of a table, kept in a file, from
which it is not measured again.

Needs torch, transformers (4.41 for this code), peft, and a folder with a model's published Python files.
Trusts that folder: it runs its code.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def load(args):
    """Weights of `--model` under the code of `--code`."""
    folder = Path(tempfile.mkdtemp())
    for source in (Path(args.model), Path(args.code)):
        for file in source.iterdir():
            target = folder / file.name
            if target.exists() or not file.is_file():
                continue
            if file.suffix in (".py", ".json"):
                shutil.copy(file, target)
            else:
                target.symlink_to(file.resolve())
    published = json.loads((Path(args.code) / "config.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = published["auto_map"]
    (folder / "config.json").write_text(json.dumps(config))
    settings = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    if args.method == "ptuning":
        settings.pre_seq_len, settings.prefix_projection = 16, True
    model = AutoModel.from_pretrained(
        folder, config=settings, trust_remote_code=True, torch_dtype=TYPES[args.dtype]
    )
    return model.to(args.device)


def prepare(model, args):
    if args.method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model,
            LoraConfig(
                r=16, lora_alpha=30, lora_dropout=args.dropout, target_modules=["query_key_value"], task_type="CAUSAL_LM"
            ),
        )
    elif args.method in ("freeze", "ptuning"):
        last = [f"layers.{model.config.num_layers - i}." for i in range(1, 5)]
        parts = last if args.method == "freeze" else ["prefix_encoder"]
        if args.method == "ptuning":
            model.transformer.dropout.p = args.dropout
        for name, parameter in model.named_parameters():
            parameter.requires_grad = any(part in name for part in parts)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float() if args.method != "all" else parameter.data
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: out.requires_grad_(True))
    return model.train()


def rows(args):
    """Ids and labels of each step, as `glmtune bench` has them."""
    config = json.loads((Path(args.model) / "config.json").read_text())
    vocabulary = config.get("padded_vocab_size") or config["vocab_size"]
    different = min(max(vocabulary // 2 - 10, 1), 5000)
    context = args.length * 2 // 3
    for number in range(args.steps):
        ids = [10 + (place * 7919 + number * 104729) % different for place in range(args.length)]
        if "gmask_token_id" in config:
            ids[context - 2 : context] = [config["gmask_token_id"], config["bos_token_id"]]
        yield ids, [-100] * context + ids[context:]


def main():
    parser = argparse.ArgumentParser()
    for name in ("code", "model", "dtype", "method", "done"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--length", type=int, default=1560)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    name = f"PyTorch {args.method}, dropout {args.dropout}" + (", checkpointed" if args.gradient_checkpointing else "")
    start = f"| {Path(args.model).name} | {name} | {args.dtype} | {args.length} | "
    done = Path(args.done)
    if done.exists() and start in done.read_text():
        return
    if args.method in ("freeze", "all") and args.dropout:
        return
    model = prepare(load(args), args)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    seconds = []
    mixed = torch.autocast(args.device, TYPES[args.dtype], enabled=args.dtype != "f32")
    for index, row in enumerate(rows(args)):
        started = time.time()
        ids, labels = (torch.tensor([part], device=args.device) for part in row)
        with mixed:
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        if index:
            seconds.append(time.time() - started)
    peak = torch.cuda.max_memory_reserved() >> 20 if args.device == "cuda" else "-"
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    speed = args.length / sorted(seconds)[len(seconds) // 2]
    line = f"{start}device {peak} MiB | process {process} MiB | {speed:.0f} tokens/s |"
    print(line)
    with done.open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
