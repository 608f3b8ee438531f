// Modules and the launches of their kernels.

#include <dlfcn.h>

#include "state.h"

API CUresult cuModuleLoadData(void **out, const void *image) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (s.here() < 0) return INVALID_CONTEXT;
    auto *module = new Module{(const char *)image, s.here()};
    static const std::string tag = "software-cuda object: ";
    if (module->image.compare(0, tag.size(), tag) == 0) {
        std::string path = module->image.substr(tag.size());
        path = path.substr(0, path.find('\n'));
        module->object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!module->object) {
            fprintf(stderr, "software-cuda: %s\n", dlerror());
            delete module;
            return INVALID_IMAGE;
        }
    }
    s.modules++;
    *out = module;
    return SUCCESS;
}

API CUresult cuModuleUnload(void *module) {
    delete (Module *)module;
    return SUCCESS;
}

API CUresult cuModuleGetFunction(void **out, void *handle, const char *name) {
    auto *module = (Module *)handle;
    auto *function = new Function{name, module->device};
    if (module->object) {
        function->code = (software_kernel *)dlsym(module->object, (std::string("software_kernel_") + name).c_str());
        if (!function->code) {
            fprintf(stderr, "software-cuda: %s\n", dlerror());
            delete function;
            return NOT_FOUND;
        }
    } else if (module->image.find(std::string(".entry ") + name + "(") == std::string::npos) {
        delete function;
        return NOT_FOUND;
    }
    *out = function;
    return SUCCESS;
}

API CUresult cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute == 8) {  // MAX_DYNAMIC_SHARED_SIZE_BYTES
        if (value > (227 << 10)) return INVALID_VALUE;
        ((Function *)function)->dynamic_shared_limit = std::max(value, 48 << 10);
    }
    return SUCCESS;
}

API CUresult cuFuncGetAttribute(int *value, int attribute, void *) {
    *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : 0;
    return SUCCESS;
}

API CUresult cuFuncSetCacheConfig(void *, int) { return SUCCESS; }

// Whether the addresses in an argument are the kernel's device's, or of a peer that it may touch.
static bool reaches(State &s, const Function *function, const std::vector<char> &argument) {
    for (size_t i = 0; i + 8 <= argument.size(); i += 8) {
        uint64_t word;
        memcpy(&word, argument.data() + i, 8);
        Device *d = s.owner(word, 1);
        if (!d || d->context.device == function->device) continue;
        if (s.devices[function->device].context.peers.count(d->context.device)) continue;
        fprintf(stderr, "software-cuda: %s on device %d is given memory of device %d, which is no enabled peer\n",
                function->name.c_str(), function->device, d->context.device);
        return false;
    }
    return true;
}

API CUresult cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                            unsigned shared, void *stream, void **arguments, void **extra) {
    State &s = state();
    std::lock_guard guard(s.lock);
    auto *function = (Function *)handle;
    if (!gx || !gy || !gz || !bx || !by || !bz) return INVALID_VALUE;
    if (gy > 65535 || gz > 65535 || gx > 0x7fffffff || bx > 1024 || by > 1024 || bz > 64 || bx * by * bz > 1024)
        return INVALID_VALUE;
    if (shared > function->dynamic_shared_limit || extra) return INVALID_VALUE;
    if (s.of(stream) != function->device) {
        fprintf(stderr, "software-cuda: %s belongs to device %d and is launched on device %d\n", function->name.c_str(),
                function->device, s.of(stream));
        return INVALID_HANDLE;
    }
    s.launches++;
    s.devices[function->device].launches++;
    Kernel &k = s.kernels[function->name];
    k.launches++;
    uint64_t blocks = uint64_t(gx) * gy * gz;
    k.blocks += blocks;
    k.threads += blocks * bx * by * bz;
    if (s.order) fprintf(s.order, "%s\t%lu\t%lu\n", function->name.c_str(), blocks, blocks * bx * by * bz);
    if (s.idle) return SUCCESS;
    if (!function->code) {
        if (s.unknown[function->name]++ == 0 && !flag("SOFTWARE_CUDA_QUIET"))
            fprintf(stderr, "software-cuda: %s is compiled for a GPU and is not executed\n", function->name.c_str());
        return SUCCESS;
    }
    // Arguments are read at the call, like the driver does.
    std::vector<std::vector<char>> kept(function->code->count);
    for (unsigned i = 0; i < function->code->count; i++) {
        auto *at = (const char *)arguments[i];
        kept[i].assign(at, at + function->code->sizes[i]);
        if (s.devices.size() > 1 && !reaches(s, function, kept[i])) return ILLEGAL_ADDRESS;
    }
    return s.ask([&s, &k, function, gx, gy, gz, bx, by, bz, shared, kept = std::move(kept)] {
        std::vector<void *> pointers;
        for (auto &bytes : kept) pointers.push_back((void *)bytes.data());
        double from = s.seconds();
        CUresult code = software_launch(function->name.c_str(), function->code, {gx, gy, gz}, {bx, by, bz}, shared,
                                        pointers.data());
        k.seconds += s.seconds() - from;
        return code;
    });
}

// Known by name so that a program that looks for them fails with words.
API CUresult cuTensorMapEncodeTiled(...) { return NOT_SUPPORTED; }
API CUresult cuTensorMapEncodeIm2col(...) { return NOT_SUPPORTED; }
API CUresult cuTensorMapEncodeIm2colWide(...) { return NOT_SUPPORTED; }
