// Streams and events.

#include "state.h"

API CUresult cuStreamCreate(void **out, unsigned) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (s.here() < 0) return INVALID_CONTEXT;
    *out = new Stream{++s.streams, s.here()};
    s.devices[s.here()].streams++;
    return SUCCESS;
}

API CUresult cuStreamCreateWithPriority(void **out, unsigned flags, int) { return cuStreamCreate(out, flags); }

API CUresult cuStreamDestroy_v2(void *stream) {
    delete (Stream *)stream;
    return SUCCESS;
}

API CUresult cuStreamSynchronize(void *) {
    State &s = state();
    std::lock_guard guard(s.lock);
    s.stream_syncs++;
    s.mark("stream");
    return s.finish(s.asked);
}

API CUresult cuStreamQuery(void *) {
    State &s = state();
    std::lock_guard guard(s.lock);
    return s.finish(s.asked);
}

API CUresult cuStreamWaitEvent(void *, void *, unsigned) {
    State &s = state();
    std::lock_guard guard(s.lock);
    s.waits++;
    return SUCCESS;
}

API CUresult cuEventCreate(void **out, unsigned) {
    *out = new Event;
    return SUCCESS;
}

API CUresult cuEventRecord(void *event, void *) {
    State &s = state();
    std::lock_guard guard(s.lock);
    s.events++;
    ((Event *)event)->at = std::chrono::steady_clock::now();
    ((Event *)event)->after = s.asked;
    return SUCCESS;
}

API CUresult cuEventSynchronize(void *event) {
    State &s = state();
    std::lock_guard guard(s.lock);
    s.event_syncs++;
    s.mark("event");
    return s.finish(((Event *)event)->after);
}

API CUresult cuEventQuery(void *event) {
    State &s = state();
    std::lock_guard guard(s.lock);
    return s.finish(((Event *)event)->after);
}

API CUresult cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    *milliseconds =
        std::chrono::duration<float, std::milli>(((Event *)to)->at - ((Event *)from)->at).count();
    return SUCCESS;
}

API CUresult cuEventElapsedTime_v2(float *milliseconds, void *from, void *to) {
    return cuEventElapsedTime(milliseconds, from, to);
}

API CUresult cuEventDestroy_v2(void *event) {
    delete (Event *)event;
    return SUCCESS;
}
