// The variables that the user of the device sets.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

inline const char *text(const char *name) { return getenv(name); }

inline bool flag(const char *name) {
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

// A file's name out of the environment: %p is the process, %r its rank as MPI's launchers and torchrun tell it.
inline std::string file(const char *name) {
    const char *value = getenv(name);
    std::string path = value ? value : "", out;
    std::string rank = std::to_string(getpid());
    for (const char *known : {"RANK", "SLURM_PROCID", "PMI_RANK", "OMPI_COMM_WORLD_RANK"})
        if (const char *r = getenv(known)) rank = r;
    for (size_t i = 0; i < path.size(); i++) {
        char next = path[i] == '%' && i + 1 < path.size() ? path[i + 1] : 0;
        if (next == 'p')
            out += std::to_string(getpid()), i++;
        else if (next == 'r')
            out += rank, i++;
        else
            out += path[i];
    }
    return out;
}

inline double number(const char *name, double otherwise) {
    const char *value = getenv(name);
    return value && *value ? atof(value) : otherwise;
}
