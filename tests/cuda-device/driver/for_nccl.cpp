// What libnccl.so asks of the driver.

#include "state.h"

API int software_device(void *stream) { return state().of(stream); }
API int software_devices() { return int(state().devices.size()); }
API int software_physical(int device) { return state().devices[device].physical; }
API int software_idle() { return state().idle; }
API int software_defers() { return state().defer; }

API int software_owner(const void *at, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    Device *d = s.owner(uint64_t(at), bytes);
    return d ? d->context.device : s.is_pinned(uint64_t(at), bytes) ? SOFTWARE_PINNED : SOFTWARE_ELSEWHERE;
}

API int software_settle() {
    State &s = state();
    std::lock_guard guard(s.lock);
    return s.finish(s.asked);
}

API int software_deliver(void *to, const void *from, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    std::vector<char> kept((const char *)from, (const char *)from + bytes);
    return s.ask([to, kept = std::move(kept)] {
        memcpy(to, kept.data(), kept.size());
        return SUCCESS;
    });
}

API void software_collective(const char *kind, int device, size_t bytes) {
    State &s = state();
    std::lock_guard guard(s.lock);
    s.collectives[kind].add(bytes);
    s.devices[device].collectives[kind].add(bytes);
    s.mark("collective");
}
