#!/usr/bin/env python3
"""llama.cpp's server on a GGUF file, as PyPI's xllamacpp has it: float32 keys and values, as many places as asked for.

    llama_cpp.py FILE PORT PLACES TOKENS_OF_A_PLACE THREADS
"""

import signal
import sys

import xllamacpp


def parameters(file, port, places, tokens, threads):
    chosen = xllamacpp.CommonParams()
    chosen.model.path = file
    chosen.port = port
    chosen.n_parallel = places
    chosen.n_ctx = places * tokens
    chosen.cpuparams.n_threads = threads
    chosen.cpuparams_batch.n_threads = threads
    chosen.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    chosen.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    chosen.fit_params = False
    chosen.cache_ram_mib = 0
    return chosen


def main():
    file, *numbers = sys.argv[1:]
    server = xllamacpp.Server(parameters(file, *map(int, numbers)))
    print(f"listening on {server.listening_address}", flush=True)
    # It ends with its process, threads and all.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pause()


if __name__ == "__main__":
    main()
