// Memory and copies.

#include "state.h"

namespace {

// The device reads pinned memory when the copy's turn comes, and other memory before the call returns.
CUresult copy_h2d(State &s, uint64_t to, const void *from, uint64_t bytes) {
    if (s.skip) {
        s.forget(uint64_t(from), bytes);
        return SUCCESS;
    }
    if (s.defer && !s.is_pinned(uint64_t(from), bytes)) {
        std::vector<char> kept((const char *)from, (const char *)from + bytes);
        return s.ask([to, kept = std::move(kept)] {
            memcpy((void *)to, kept.data(), kept.size());
            return SUCCESS;
        });
    }
    return s.ask([to, from, bytes] {
        memcpy((void *)to, from, bytes);
        return SUCCESS;
    });
}

CUresult copy_d2h(State &s, void *to, uint64_t from, uint64_t bytes) {
    bool pinned = s.is_pinned(uint64_t(to), bytes), zero = s.zero;
    if (s.defer && pinned) memset(to, 0xff, bytes);  // who reads before waiting reads this
    CUresult code = s.ask([to, from, bytes, zero] {
        if (zero)
            memset(to, 0, bytes);
        else
            memcpy(to, (void *)from, bytes);
        return SUCCESS;
    });
    return pinned ? code : s.finish(s.asked);
}

}  // namespace

API CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) { return state().allocate(out, bytes, state().here()); }
API CUresult cuMemAllocAsync(CUdeviceptr *out, size_t bytes, void *stream) {
    return state().allocate(out, bytes, state().of(stream));
}
API CUresult cuMemFree_v2(CUdeviceptr at) { return state().free(at); }
API CUresult cuMemFreeAsync(CUdeviceptr at, void *) { return state().free(at); }

API CUresult cuMemGetInfo_v2(size_t *available, size_t *total) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (s.here() < 0) return INVALID_CONTEXT;
    *available = s.total - s.devices[s.here()].now;
    *total = s.total;
    return SUCCESS;
}

API CUresult cuMemAllocHost_v2(void **out, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    uint64_t at = s.reserve(bytes);
    if (!at) return OUT_OF_MEMORY;
    s.pinned[at] = bytes;
    s.pinned_now += bytes;
    s.pinned_peak = std::max(s.pinned_peak, s.pinned_now);
    *out = (void *)at;
    s.mark("pinned memory");
    return SUCCESS;
}

API CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned) { return cuMemAllocHost_v2(out, bytes); }

API CUresult cuMemFreeHost(void *at) {
    State &s = state();
    std::lock_guard guard(s.lock);
    auto found = s.pinned.find(uint64_t(at));
    if (found == s.pinned.end()) return INVALID_VALUE;
    s.finish(s.asked);
    s.pinned_now -= found->second;
    s.release(found->first, found->second);
    s.pinned.erase(found);
    return SUCCESS;
}

static CUresult to_device(CUdeviceptr to, const void *from, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (!s.holds(to, bytes)) return s.bad("copy to the device", to, bytes);
    s.count_h2d(to, bytes);
    return copy_h2d(s, to, from, bytes);
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *) {
    return to_device(to, from, bytes);
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    CUresult code = to_device(to, from, bytes);
    std::lock_guard guard(state().lock);
    return code ? code : state().finish(state().asked);
}

static CUresult to_host(void *to, CUdeviceptr from, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (!s.holds(from, bytes)) return s.bad("copy to the host", from, bytes);
    s.d2h.add(bytes), s.owner(from, bytes)->d2h.add(bytes);
    return copy_d2h(s, to, from, bytes);
}

API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *) { return to_host(to, from, bytes); }

API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    CUresult code = to_host(to, from, bytes);
    std::lock_guard guard(state().lock);
    return code ? code : state().finish(state().asked);
}

API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (!s.holds(to, bytes)) return s.bad("copy within the device", to, bytes);
    if (!s.holds(from, bytes)) return s.bad("copy within the device", from, bytes);
    s.count_d2d(to, from, bytes);
    if (s.idle) return SUCCESS;
    return s.ask([to, from, bytes] {
        memmove((void *)to, (void *)from, bytes);
        return SUCCESS;
    });
}

API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void *) {
    return cuMemcpyDtoD_v2(to, from, bytes);
}

// The addresses say which devices they belong to; the contexts must agree.
API CUresult cuMemcpyPeer(CUdeviceptr to, void *to_context, CUdeviceptr from, void *from_context, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (!to_context || !from_context) return INVALID_CONTEXT;
    for (auto [at, context] : {std::pair(to, to_context), std::pair(from, from_context)}) {
        Device *d = s.owner(at, bytes);
        if (!d) return s.bad("copy between devices", at, bytes);
        if (&d->context != context) return INVALID_VALUE;
    }
    return cuMemcpyDtoD_v2(to, from, bytes);
}

API CUresult cuMemcpyPeerAsync(CUdeviceptr to, void *to_context, CUdeviceptr from, void *from_context, size_t bytes,
                               void *) {
    return cuMemcpyPeer(to, to_context, from, from_context, bytes);
}

API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (!s.holds(to, bytes)) return s.bad("fill", to, bytes);
    s.set.add(bytes), s.owner(to, bytes)->set.add(bytes);
    if (s.idle) return SUCCESS;
    return s.ask([to, value, bytes] {
        memset((void *)to, value, bytes);
        return SUCCESS;
    });
}

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, void *) {
    return cuMemsetD8_v2(to, value, bytes);
}

struct Copy2D {
    size_t src_x, src_y;
    int src_type;
    const void *src_host;
    CUdeviceptr src_device;
    void *src_array;
    size_t src_pitch, dst_x, dst_y;
    int dst_type;
    void *dst_host;
    CUdeviceptr dst_device;
    void *dst_array;
    size_t dst_pitch, width, height;
};

API CUresult cuMemcpy2DAsync_v2(const Copy2D *c, void *) {
    State &s = state();
    std::lock_guard guard(s.lock);
    enum { HOST = 1, DEVICE = 2 };
    if (!c->width || !c->height) return SUCCESS;
    auto extent = [&](size_t pitch) { return pitch * (c->height - 1) + c->width; };
    if (c->src_pitch < c->width || c->dst_pitch < c->width) {
        if (c->height > 1) return INVALID_VALUE;
    }
    uint64_t src = c->src_type == HOST ? uint64_t(c->src_host) : c->src_device;
    uint64_t dst = c->dst_type == HOST ? uint64_t(c->dst_host) : c->dst_device;
    src += c->src_y * c->src_pitch + c->src_x;
    dst += c->dst_y * c->dst_pitch + c->dst_x;
    if (c->src_type == DEVICE && !s.holds(src, extent(c->src_pitch))) return s.bad("2D copy", src, extent(c->src_pitch));
    if (c->dst_type == DEVICE && !s.holds(dst, extent(c->dst_pitch))) return s.bad("2D copy", dst, extent(c->dst_pitch));
    uint64_t bytes = c->width * c->height;
    if (c->src_type == HOST)
        s.count_h2d(dst, bytes);
    else if (c->dst_type == HOST)
        s.d2h.add(bytes), s.owner(src, 1)->d2h.add(bytes);
    else
        s.count_d2d(dst, src, bytes);
    if (c->src_type == HOST && s.skip) {
        s.forget(src, extent(c->src_pitch));
        return SUCCESS;
    }
    for (size_t y = 0; y < c->height; y++) {
        char *to = (char *)dst + y * c->dst_pitch;
        const char *from = (const char *)src + y * c->src_pitch;
        size_t width = c->width;
        CUresult code = c->dst_type == HOST   ? copy_d2h(s, to, uint64_t(from), width)
                        : c->src_type == HOST ? copy_h2d(s, uint64_t(to), from, width)
                                              : s.ask([to, from, width] {
                                                    memmove(to, from, width);
                                                    return SUCCESS;
                                                });
        if (code) return code;
    }
    return SUCCESS;
}

API CUresult cuMemcpy2D_v2(const Copy2D *c) { return cuMemcpy2DAsync_v2(c, nullptr); }
API CUresult cuMemcpy2DUnaligned_v2(const Copy2D *c) { return cuMemcpy2DAsync_v2(c, nullptr); }
