// What moves between ranks: collectives and messages.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "arithmetic.h"
#include "communicator.h"

// Where results go: the device's memory, or with SOFTWARE_CUDA_DEFER a copy that is written when its turn comes.
struct Output {
    char *to;
    std::vector<char> kept;
    Output(void *at, size_t bytes) : to((char *)at) {
        if (software_defers() && bytes && !software_idle()) kept.assign(to, to + bytes);
    }
    char *at() { return kept.empty() ? to : kept.data(); }
    int done() { return kept.empty() ? 0 : software_deliver(to, kept.data(), kept.size()); }
};

inline int collective(Comm &c, const Call &call, const char *in, void *out_at) {
    std::string doing = call.text();
    if (c.error) return complain(c.error, c.self() + ": " + doing + ": this communicator has failed before");
    if (software_settle()) return complain(UNHANDLED_CUDA_ERROR, c.self() + ": earlier work of the streams failed");
    c.announce(call);
    if (int code = c.barrier(doing)) return code;
    for (int r = 0; r < c.ranks; r++)
        if (memcmp(&c.seat(r).call, &call, sizeof call) != 0)
            return c.give_up(INVALID_ARGUMENT, "ranks disagree: rank " + std::to_string(c.rank) + " calls " + doing +
                                                   ", rank " + std::to_string(r) + " " + c.seat(r).call.text());
    bool scatter = call.kind == REDUCE_SCATTER, gather = call.kind == ALL_GATHER;
    bool reduces = call.kind == ALL_REDUCE || call.kind == REDUCE || scatter;
    bool receives = call.kind == REDUCE ? c.rank == call.root : true;
    size_t size = type_sizes[call.type], most = CHUNK / size, bytes = call.bytes();
    Output out(out_at, !receives ? 0 : gather ? bytes * c.ranks : bytes);
    for (size_t from = 0; from < call.count && !software_idle(); from += most) {
        size_t n = std::min(most, call.count - from), length = n * size, at = from * size;
        for (int part = 0; part < (scatter ? c.ranks : 1); part++) {
            if (call.kind != BROADCAST || c.rank == call.root)
                memcpy(c.segment->slot(c.rank), in + part * bytes + at, length);
            if (int code = c.barrier(doing)) return code;
            if (reduces) {
                reduce(c, call.type, call.operation, n * c.rank / c.ranks, n * (c.rank + 1) / c.ranks);
                if (int code = c.barrier(doing)) return code;
            }
            if (gather)
                for (int r = 0; r < c.ranks; r++) memcpy(out.at() + r * bytes + at, c.segment->slot(r), length);
            else if (receives && (!scatter || part == c.rank))
                memcpy(out.at() + at, c.segment->slot(reduces ? 0 : call.root), length);
            if (int code = c.barrier(doing)) return code;
        }
    }
    if (int code = c.barrier(doing)) return code;  // nobody announces the next before all have read this one
    return out.done() ? UNHANDLED_CUDA_ERROR : SUCCESS;
}

// Point to point: both sides wait until the message has arrived. Those of a group make way together.
struct Message {
    Call call;
    char *at;
    size_t moved = 0;
    bool posted = false, over = false;
    int error = SUCCESS;
    Output out;

    Message(const Call &k, void *p) : call(k), at((char *)p), out(p, k.kind == RECV ? k.bytes() : 0) {}

    // Does what can be done now; whether that was anything.
    bool step(Comm &c) {
        bool sends = call.kind == SEND, idle = software_idle();
        size_t bytes = idle ? 0 : call.bytes();
        Letterbox &box = sends ? c.segment->letters(c.rank, call.root) : c.segment->letters(call.root, c.rank);
        size_t n = std::min(LETTER, bytes - moved);
        if (sends && !posted) {
            box.call = call;
            box.posted++;
            return posted = true;
        }
        if (sends && moved < bytes && box.written == box.read) {
            memcpy(box.data, at + moved, n);
            moved += n, box.written++;
            return true;
        }
        if (sends && moved == bytes && box.accepted == box.posted) return over = true;
        if (!sends && box.posted > box.accepted) {
            if (box.call.type != call.type || box.call.count != call.count) {
                error = c.give_up(INVALID_ARGUMENT, "ranks disagree: rank " + std::to_string(c.rank) + " calls " +
                                                        call.text() + ", the other " + box.call.text());
                return over = true;
            }
            if (moved < bytes) {
                if (box.written == box.read) return false;
                memcpy(out.at() + moved, box.data, n);
                moved += n, box.read++;
            }
            if (moved == bytes) box.accepted++, over = true;
            return true;
        }
        return false;
    }
};

inline int exchange(Comm &c, std::vector<Message> &messages) {
    std::string doing;
    for (auto &m : messages) doing += (doing.empty() ? "" : " + ") + m.call.text();
    if (c.error) return complain(c.error, c.self() + ": " + doing + ": this communicator has failed before");
    if (software_settle()) return complain(UNHANDLED_CUDA_ERROR, c.self() + ": earlier work of the streams failed");
    for (auto &m : messages) c.announce(m.call);
    int failed = SUCCESS, code = SUCCESS;
    for (bool over = false; !over && !code && !failed;) {
        // The time limit counts from the last thing that moved.
        code = c.wait(doing, [&] {
            std::vector<int> absent;
            over = true;
            bool moved = false;
            for (size_t i = 0; i < messages.size(); i++) {
                Message &m = messages[i];
                bool turn = !m.over;
                for (size_t j = 0; j < i && turn; j++)  // messages of a pair keep their order
                    turn = messages[j].over || messages[j].call.kind != m.call.kind ||
                           messages[j].call.root != m.call.root;
                while (turn && !m.over && m.step(c)) moved = true;
                if (m.error) failed = m.error;
                if (!m.over) over = false, absent.push_back(m.call.root);
            }
            if (moved) c.ring();
            if (failed || moved) absent.clear();
            return absent;
        });
    }
    if (code || failed) return code ? code : failed;
    for (auto &m : messages)
        if (m.out.done()) return UNHANDLED_CUDA_ERROR;
    return SUCCESS;
}
