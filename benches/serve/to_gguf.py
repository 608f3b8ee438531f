#!/usr/bin/env python3
"""Writes a ChatGLM2 or ChatGLM3 model with a sentencepiece tokenizer as a GGUF file in float32, for llama.cpp.

    to_gguf.py MODEL_DIR FILE       needs PyPI's gguf and numpy
"""

import json
import pathlib
import struct
import sys

import gguf
import numpy

KINDS = {1: gguf.TokenType.NORMAL, 2: gguf.TokenType.UNKNOWN, 3: gguf.TokenType.CONTROL, 6: gguf.TokenType.BYTE}
SPECIAL = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
TOP = {
    "embedding.word_embeddings.weight": "token_embd.weight",
    "output_layer.weight": "output.weight",
    "encoder.final_layernorm.weight": "output_norm.weight",
}
OF_BLOCKS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}


def tensors(folder):
    """Names and values of all safetensors files, one by one."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                start, end = entry["data_offsets"]
                file.seek(8 + length + start)
                yield name, values(entry["dtype"], file.read(end - start)).reshape(entry["shape"])


def values(kind, data):
    if kind == "BF16":
        return (numpy.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return numpy.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[kind]).astype("<f4")


def gguf_name(name):
    """A tensor's name in GGUF; `None` of one that llama.cpp computes itself."""
    name = name.removeprefix("transformer.")
    if name in TOP:
        return TOP[name]
    if not name.startswith("encoder.layers."):
        return None
    _, _, block, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{block}.{OF_BLOCKS[part]}.{kind}"


def fields(message):
    """Numbers and values of a protobuf message's fields."""
    at = 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at, number, shift = at + 1, number | (byte & 127) << shift, shift + 7
            if byte < 128:
                return number

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        yield key >> 3, message[at : at + size]
        at += size


def pieces(path):
    """Text, score and kind of a sentencepiece model's pieces."""
    for number, value in fields(path.read_bytes()):
        if number == 1:
            piece = dict(fields(value))
            yield piece[1], struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0], KINDS[piece.get(3, 1)]


def add_tokenizer(writer, folder, size):
    known = list(pieces(folder / "tokenizer.model"))
    known[:3] = [(text, score, kind) for text, (_, score, kind) in zip((b"<unk>", b"<bos>", b"<eos>"), known)]
    known += [(text.encode(), -1000.0, gguf.TokenType.CONTROL) for text in SPECIAL]
    while len(known) < size:
        known.append((f"[PAD{len(known)}]".encode(), -1000.0, gguf.TokenType.UNUSED))
    texts, scores, kinds = zip(*known[:size])
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("chatglm-spm")
    writer.add_token_list(list(texts))
    writer.add_token_scores(list(scores))
    writer.add_token_types(list(kinds))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def add_config(writer, config):
    head = config["kv_channels"]
    writer.add_name("model")
    writer.add_context_length(config["seq_length"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["ffn_hidden_size"])
    writer.add_block_count(config["num_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["multi_query_group_num"])
    writer.add_layer_norm_rms_eps(config["layernorm_epsilon"])
    writer.add_rope_dimension_count(head // 2)
    writer.add_rope_freq_base(10000.0 * config.get("rope_ratio", 1))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def main():
    folder, file = map(pathlib.Path, sys.argv[1:])
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "chatglm")
    add_config(writer, config)
    add_tokenizer(writer, folder, config["padded_vocab_size"])
    for name, value in tensors(folder):
        if renamed := gguf_name(name):
            writer.add_tensor(renamed, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
