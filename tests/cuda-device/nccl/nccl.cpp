// libnccl.so: NCCL's collectives between ranks that are threads of one process, or processes of one machine. The ranks
// of a communicator share a segment of memory that its unique id names; what they exchange goes through it in chunks.
// A call returns when it is done: work of the streams that came before it is done first.

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "transfers.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

struct Pending {
    Comm *comm;
    bool letter;
    Call call;
    void *in, *out;
    std::function<int()> start;  // of a communicator that is begun within the group
};

thread_local int depth = 0;
thread_local std::vector<Pending> pending;
thread_local int refused = SUCCESS;

// One communicator's part: what begins it, its collectives in their order, then its messages together.
int play(Comm &c, const std::vector<Pending> &parts) {
    std::vector<Message> messages;
    for (auto &p : parts)
        if (int code = p.start ? p.start() : 0) return code;
    for (auto &p : parts) {
        if (p.start) continue;
        if (p.letter)
            messages.emplace_back(p.call, p.call.kind == SEND ? p.in : p.out);
        else if (int code = collective(c, p.call, (const char *)p.in, p.out))
            return code;
    }
    return messages.empty() ? int(SUCCESS) : exchange(c, messages);
}

int end_group() {
    std::vector<Pending> all;
    all.swap(pending);
    int code = refused;
    refused = SUCCESS;
    if (code) return code;
    std::vector<Comm *> comms;
    for (auto &p : all)
        if (std::find(comms.begin(), comms.end(), p.comm) == comms.end()) comms.push_back(p.comm);
    std::vector<int> codes(comms.size());
    std::vector<std::string> words(comms.size());
    auto one = [&](size_t i) {
        std::vector<Pending> mine;
        for (auto &p : all)
            if (p.comm == comms[i]) mine.push_back(p);
        codes[i] = play(*comms[i], mine);
        words[i] = last;
    };
    // Ranks of one host thread need each other.
    std::vector<std::thread> threads;
    for (size_t i = 1; i < comms.size(); i++) threads.emplace_back(one, i);
    if (!comms.empty()) one(0);
    for (auto &t : threads) t.join();
    for (size_t i = 0; i < codes.size(); i++)
        if (codes[i]) return last = words[i], codes[i];
    return SUCCESS;
}

int enter(Pending p) {
    pending.push_back(std::move(p));
    return depth ? int(SUCCESS) : end_group();
}

int check(Comm *c, const Call &call, const void *in, size_t in_bytes, const void *out, size_t out_bytes, void *stream) {
    std::string who = c->self() + ": " + kind_names[call.kind] + ": ";
    bool rooted = call.kind == REDUCE || call.kind == BROADCAST || call.kind == SEND || call.kind == RECV;
    if (call.type < 0 || call.type >= TYPES)
        return complain(INVALID_ARGUMENT, who + "type " + std::to_string(call.type) + " is not supported");
    if (call.operation < 0 || call.operation >= OPERATIONS)
        return complain(INVALID_ARGUMENT, who + "operation " + std::to_string(call.operation) + " is not supported");
    if (rooted && (call.root < 0 || call.root >= c->ranks))
        return complain(INVALID_ARGUMENT, who + "there is no rank " + std::to_string(call.root));
    if (software_device(stream) >= 0 && software_device(stream) != c->device)
        return complain(INVALID_USAGE, who + "the stream belongs to device " + std::to_string(software_device(stream)) +
                                           ", the communicator to device " + std::to_string(c->device));
    for (auto [at, bytes, what] : {std::tuple(in, in_bytes, "sends"), std::tuple(out, out_bytes, "receives")}) {
        if (!bytes) continue;
        int owner = software_owner(at, bytes);
        if (owner == c->device || owner == SOFTWARE_PINNED) continue;
        char text[200];
        snprintf(text, sizeof text, "%s %zu bytes at %p, which %s%s; the communicator's device is %d", what, bytes, at,
                 owner < 0 ? "lie in no allocation" : "are memory of device ",
                 owner < 0 ? "" : std::to_string(owner).c_str(), c->device);
        return complain(INVALID_ARGUMENT, who + text);
    }
    return SUCCESS;
}

int call(void *comm, Call call, const void *in, size_t parts_in, void *out, size_t parts_out, void *stream) {
    auto *c = (Comm *)comm;
    if (!c) return complain(INVALID_ARGUMENT, std::string(kind_names[call.kind]) + ": no communicator");
    size_t bytes = call.type >= 0 && call.type < TYPES ? call.bytes() : 0;
    if (int code = check(c, call, in, bytes * parts_in, out, bytes * parts_out, stream)) {
        if (depth) refused = code;
        return code;
    }
    software_collective(kind_names[call.kind], c->device, bytes * std::max(parts_in, parts_out));
    return enter({c, call.kind == SEND || call.kind == RECV, call, (void *)in, out, nullptr});
}

int begin(void **out, int ranks, const UniqueId &id, int rank, int device) {
    if (!out || ranks < 1 || ranks > MOST || rank < 0 || rank >= ranks)
        return complain(INVALID_ARGUMENT,
                        "ncclCommInitRank: rank " + std::to_string(rank) + " of " + std::to_string(ranks));
    if (device < 0) device = 0;  // like CUDA's runtime, without a context
    if (device >= software_devices())
        return complain(INVALID_ARGUMENT, "there is no device " + std::to_string(device));
    auto *c = new Comm{{}, rank, ranks, device};
    *out = c;
    return enter({c, false, {}, nullptr, nullptr, [c, id] { return c->open(id); }});
}

}  // namespace

API int ncclGetVersion(int *version) {
    *version = 22705;
    return SUCCESS;
}

API int ncclGetUniqueId(UniqueId *id) {
    std::random_device random;
    memset(id, 0, sizeof *id);
    snprintf(id->name, sizeof id->name, "/software-cuda-%d-%08x%08x", getpid(), random(), random());
    return SUCCESS;
}

API int ncclCommInitRank(void **comm, int ranks, UniqueId id, int rank) {
    return begin(comm, ranks, id, rank, software_device(nullptr));
}

API int ncclCommInitRankConfig(void **comm, int ranks, UniqueId id, int rank, void *) {
    return ncclCommInitRank(comm, ranks, id, rank);
}

API int ncclCommInitAll(void **comms, int count, const int *devices) {
    UniqueId id;
    ncclGetUniqueId(&id);
    depth++;
    int code = SUCCESS;
    for (int i = 0; i < count && !code; i++) code = begin(comms + i, count, id, i, devices ? devices[i] : i);
    depth--;
    if (code) pending.clear();
    return code ? code : depth ? int(SUCCESS) : end_group();
}

API int ncclCommFinalize(void *) { return SUCCESS; }

API int ncclCommDestroy(void *comm) {
    delete (Comm *)comm;
    return SUCCESS;
}

API int ncclCommAbort(void *comm) {
    auto *c = (Comm *)comm;
    if (c && c->segment && !c->error) c->give_up(SUCCESS, "rank " + std::to_string(c->rank) + " called ncclCommAbort");
    delete c;
    return SUCCESS;
}

API int ncclCommCount(void *comm, int *count) {
    if (!comm) return INVALID_ARGUMENT;
    *count = ((Comm *)comm)->ranks;
    return SUCCESS;
}

API int ncclCommUserRank(void *comm, int *rank) {
    if (!comm) return INVALID_ARGUMENT;
    *rank = ((Comm *)comm)->rank;
    return SUCCESS;
}

API int ncclCommCuDevice(void *comm, int *device) {
    if (!comm) return INVALID_ARGUMENT;
    *device = ((Comm *)comm)->device;
    return SUCCESS;
}

API const char *ncclGetErrorString(int code) {
    switch (code) {
        case SUCCESS: return "no error";
        case UNHANDLED_CUDA_ERROR: return "unhandled cuda error";
        case SYSTEM_ERROR: return "unhandled system error";
        case INTERNAL_ERROR: return "internal error";
        case INVALID_ARGUMENT: return "invalid argument";
        case INVALID_USAGE: return "invalid usage";
        case REMOTE_ERROR: return "remote process exited or there was a network error";
        default: return "unknown result code";
    }
}

API const char *ncclGetLastError(void *) {
    return last.c_str();
}

API int ncclCommGetAsyncError(void *comm, int *code) {
    auto *c = (Comm *)comm;
    if (!c) return INVALID_ARGUMENT;
    *code = c->error ? c->error.load() : c->segment && c->segment->broken ? int(REMOTE_ERROR) : int(SUCCESS);
    return SUCCESS;
}

API int ncclGroupStart() {
    depth++;
    return SUCCESS;
}

API int ncclGroupEnd() {
    if (!depth) return complain(INVALID_USAGE, "ncclGroupEnd without ncclGroupStart");
    return --depth ? int(SUCCESS) : end_group();
}

API int ncclAllReduce(const void *in, void *out, size_t count, int type, int operation, void *comm, void *stream) {
    return call(comm, {ALL_REDUCE, type, operation, 0, count}, in, 1, out, 1, stream);
}

API int ncclReduce(const void *in, void *out, size_t count, int type, int operation, int root, void *comm,
                   void *stream) {
    bool mine = comm && ((Comm *)comm)->rank == root;
    return call(comm, {REDUCE, type, operation, root, count}, in, 1, out, mine, stream);
}

API int ncclBroadcast(const void *in, void *out, size_t count, int type, int root, void *comm, void *stream) {
    bool mine = comm && ((Comm *)comm)->rank == root;
    return call(comm, {BROADCAST, type, 0, root, count}, in, mine, out, 1, stream);
}

API int ncclBcast(void *at, size_t count, int type, int root, void *comm, void *stream) {
    return ncclBroadcast(at, at, count, type, root, comm, stream);
}

API int ncclAllGather(const void *in, void *out, size_t count, int type, void *comm, void *stream) {
    return call(comm, {ALL_GATHER, type, 0, 0, count}, in, 1, out, comm ? ((Comm *)comm)->ranks : 0, stream);
}

API int ncclReduceScatter(const void *in, void *out, size_t count, int type, int operation, void *comm, void *stream) {
    int ranks = comm ? ((Comm *)comm)->ranks : 0;
    return call(comm, {REDUCE_SCATTER, type, operation, 0, count}, in, ranks, out, 1, stream);
}

API int ncclSend(const void *in, size_t count, int type, int peer, void *comm, void *stream) {
    return call(comm, {SEND, type, 0, peer, count}, in, 1, nullptr, 0, stream);
}

API int ncclRecv(void *out, size_t count, int type, int peer, void *comm, void *stream) {
    return call(comm, {RECV, type, 0, peer, count}, nullptr, 0, out, 1, stream);
}
