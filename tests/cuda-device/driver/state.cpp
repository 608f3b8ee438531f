// The driver's one state, and the summary that it writes.

#include "state.h"

#include <signal.h>

// The devices that a program may see. A list ends at what is no device; who names one twice gets none.
std::vector<int> visible(int count) {
    std::vector<int> all(count), out;
    for (int i = 0; i < count; i++) all[i] = i;
    const char *at = getenv("CUDA_VISIBLE_DEVICES");
    if (!at) return all;
    while (*at) {
        char *end;
        long i = strtol(at, &end, 10);
        unsigned uuid;
        if (sscanf(at, "GPU-%8x", &uuid) == 1)
            i = long(uuid) - 0x11111111;
        else if (end == at)
            break;
        if (i < 0 || i >= count) break;
        if (std::count(out.begin(), out.end(), int(i))) return {};
        out.push_back(int(i));
        at = strchr(at, ',');
        if (!at) break;
        at++;
    }
    return out;
}

void State::summary() {
    written = seconds();
    if (timeline) fflush(timeline);
    if (order) fflush(order);
    std::string path = file("SOFTWARE_CUDA_TRACE");
    if (path.empty()) return;
    std::string partial = path + ".partial";
    FILE *f = fopen(partial.c_str(), "w");
    if (!f) return;
    fprintf(f, "{\n  \"seconds\": %.3f,\n  \"device_memory\": %lu,\n", seconds(), total);
    fprintf(f, "  \"device_now\": %lu,\n  \"device_peak\": %lu,\n", first().now, first().peak);
    fprintf(f, "  \"pinned_now\": %lu,\n  \"pinned_peak\": %lu,\n", pinned_now, pinned_peak);
    fprintf(f, "  \"allocations\": %lu,\n  \"frees\": %lu,\n  \"refused_allocations\": %lu,\n", allocations, frees,
            refused);
    fprintf(f, "  \"streams\": %d,\n  \"modules\": %lu,\n  \"launches\": %lu,\n", streams, modules, launches);
    fprintf(f, "  \"stream_syncs\": %lu,\n  \"event_syncs\": %lu,\n  \"context_syncs\": %lu,\n", stream_syncs,
            event_syncs, context_syncs);
    fprintf(f, "  \"event_records\": %lu,\n  \"stream_waits\": %lu,\n", events, waits);
    auto copies = [&](const char *name, const Copies &c, const char *end) {
        fprintf(f, "\"%s\": {\"count\": %lu, \"bytes\": %lu}%s", name, c.count, c.bytes, end);
    };
    auto each = [&](const std::map<std::string, Copies> &all) {
        const char *comma = "";
        fprintf(f, "\"nccl\": {");
        for (auto &[name, c] : all) fprintf(f, "%s", comma), copies(name.c_str(), c, ""), comma = ", ";
        fprintf(f, "}");
    };
    auto peak = [&](const Device &d) {
        const char *comma = "";
        fprintf(f, "\"allocations_at_peak\": {");
        for (auto &[bytes, count] : d.at_peak) fprintf(f, "%s\"%lu\": %lu", comma, bytes, count), comma = ", ";
        fprintf(f, "}");
    };
    fprintf(f, "  "), copies("h2d", h2d, ",\n  "), copies("d2h", d2h, ",\n  "), copies("d2d", d2d, ",\n  ");
    copies("peer", peer, ",\n  "), copies("memset", set, ",\n  ");
    each(collectives);
    fprintf(f, ",\n  "), peak(first()), fprintf(f, ",\n  \"devices\": [");
    const char *comma = "";
    for (auto &d : devices) {
        fprintf(f, "%s\n    {\"device\": %d, \"now\": %lu, \"peak\": %lu, \"allocations\": %lu, \"frees\": %lu, ",
                comma, d.physical, d.now, d.peak, d.allocations, d.frees);
        fprintf(f, "\"refused_allocations\": %lu, \"streams\": %lu, \"launches\": %lu,\n     ", d.refused,
                d.streams, d.launches);
        copies("h2d", d.h2d, ", "), copies("d2h", d.d2h, ", "), copies("d2d", d.d2d, ", ");
        copies("peer_in", d.peer_in, ", "), copies("peer_out", d.peer_out, ",\n     ");
        copies("memset", d.set, ", "), each(d.collectives), fprintf(f, ",\n     "), peak(d), fprintf(f, "}");
        comma = ",";
    }
    fprintf(f, "\n  ],\n  \"kernels\": {\n");
    std::vector<std::pair<std::string, Kernel>> order(kernels.begin(), kernels.end());
    std::sort(order.begin(), order.end(),
              [](auto &a, auto &b) { return a.second.launches > b.second.launches; });
    comma = "";
    for (auto &[name, k] : order) {
        fprintf(f, "%s    \"%s\": {\"launches\": %lu, \"blocks\": %lu, \"threads\": %lu, \"seconds\": %.3f}", comma,
                name.c_str(), k.launches, k.blocks, k.threads, k.seconds);
        comma = ",\n";
    }
    fprintf(f, "\n  }\n}\n");
    fclose(f);
    rename(partial.c_str(), path.c_str());
}

// Lives until the process ends: its destructor would run before the last calls.
State &state() {
    static State *s = new State;
    return *s;
}

namespace {

void on_exit() {
    std::lock_guard guard(state().lock);
    state().summary();
}

void on_signal(int) { state().summary(); }

struct AtExit {
    AtExit() {
        atexit(on_exit);
        if (text("SOFTWARE_CUDA_TRACE")) signal(SIGUSR1, on_signal);
    }
} at_exit;

}  // namespace
