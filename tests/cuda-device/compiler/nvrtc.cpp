// libnvrtc.so: either passes CUDA C++ on to the real NVRTC (SOFTWARE_CUDA_NVRTC names its library), or compiles it
// for this host. Either way it can keep the sources and says how long the compiler took.

#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "interface.h"
#include "rewrite.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

enum { SUCCESS = 0, INVALID_INPUT = 3, COMPILATION = 6, INTERNAL_ERROR = 11 };

struct Program {
    std::string source, log, image;
    void *real = nullptr;
    bool cached = false;
};

std::mutex lock;
int number = 0;
int failures = 0;
double spent = 0;

struct Real {
    int (*create)(void **, const char *, const char *, int, const char *const *, const char *const *) = nullptr;
    int (*compile)(void *, int, const char *const *) = nullptr;
    int (*image_size)(void *, size_t *) = nullptr;
    int (*image)(void *, char *) = nullptr;
    int (*log_size)(void *, size_t *) = nullptr;
    int (*log)(void *, char *) = nullptr;
    int (*destroy)(void **) = nullptr;
    bool present = false;

    Real() {
        const char *path = getenv("SOFTWARE_CUDA_NVRTC");
        if (!path || !*path) return;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            fprintf(stderr, "software-cuda: %s\n", dlerror());
            exit(2);
        }
        auto get = [&](auto &f, const char *name) { f = (std::decay_t<decltype(f)>)dlsym(library, name); };
        get(create, "nvrtcCreateProgram");
        get(compile, "nvrtcCompileProgram");
        get(image_size, "nvrtcGetPTXSize");
        get(image, "nvrtcGetPTX");
        get(log_size, "nvrtcGetProgramLogSize");
        get(log, "nvrtcGetProgramLog");
        get(destroy, "nvrtcDestroyProgram");
        present = true;
    }
};

Real &real() {
    static Real r;
    return r;
}

// The folder of this library: the headers of kernels lie beside it.
std::string home() {
    Dl_info info;
    dladdr((void *)&home, &info);
    std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/'));
}

uint64_t digest(const std::string &text) {
    uint64_t h = 1469598103934665603ull;
    for (unsigned char c : text) h = (h ^ c) * 1099511628211ull;
    return h;
}

std::string read(const std::string &path) {
    std::ifstream f(path);
    std::stringstream s;
    s << f.rdbuf();
    return s.str();
}

void write(const std::string &path, const std::string &text) {
    std::string mine = path + "." + std::to_string(getpid()) + ".new";  // other ranks may write the same file
    std::ofstream f(mine);
    f << text;
    f.close();
    rename(mine.c_str(), path.c_str());
}

// Where compiled kernels are kept: beside the libraries, unless a folder is named.
std::string cache_folder() {
    const char *named = getenv("SOFTWARE_CUDA_CACHE");
    std::string cache = named && *named ? named : home() + "/cache";
    mkdir(cache.c_str(), 0777);
    return cache;
}

// A word of a shell's command line.
std::string quoted(const std::string &word) {
    std::string out = "'";
    for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

// For this host: the object is kept by the digest of its source and of the shim.
bool compile_here(Program &p) {
    std::string cache = cache_folder();
    std::string source, kernel;
    bool meets = false;
    if (!rewrite(p.source, source, kernel, meets, p.log)) return false;
    source += "\nextern \"C\" __attribute__((visibility(\"default\"))) software_kernel software_kernel_" + kernel +
              " = software::describe(" + kernel + ", [](void **a) { software::call(" + kernel + ", a); }, " +
              (meets ? "1" : "0") + ");\n";
    std::string here = home();
    static const std::string shim = read(here + "/kernel/all");
    static const std::string options = getenv("SOFTWARE_CUDA_CXXFLAGS") ? getenv("SOFTWARE_CUDA_CXXFLAGS") : "-O1";
    char name[32];
    snprintf(name, sizeof name, "%016lx", digest(source + shim + options));
    std::string base = cache + "/" + name, object = base + ".so";
    if (access(object.c_str(), R_OK) != 0) {
        write(base + ".cpp", source);
        const char *compiler = getenv("SOFTWARE_CUDA_CXX");
        std::string temporary = base + "." + std::to_string(getpid()) + ".so", log = temporary + ".log";
        std::string command = std::string(compiler && *compiler ? compiler : "g++") + " -shared " +
                              read(here + "/flags") + " " + options + " -include " + quoted(here + "/kernel/device.h") +
                              " -o " + quoted(temporary) + " " + quoted(base + ".cpp") + " -L" + quoted(here) +
                              " -l:libcuda.so.1 -Wl,-rpath," + quoted(here) + " 2> " + quoted(log);
        int code = system(command.c_str());
        if (code != 0) {
            p.log += read(log);
            return false;
        }
        rename(temporary.c_str(), object.c_str());
        unlink(log.c_str());
    }
    p.image = "software-cuda object: " + object + "\n";
    return true;
}

bool compile_there(Program &p, int count, const char *const *options) {
    std::string key = p.source + getenv("SOFTWARE_CUDA_NVRTC");
    for (int i = 0; i < count; i++) key += options[i];
    char name[32];
    snprintf(name, sizeof name, "/%016lx.ptx", digest(key));
    std::string kept = cache_folder() + name;
    if (access(kept.c_str(), R_OK) == 0) {
        p.image = read(kept), p.cached = true;
        return true;
    }
    if (real().create(&p.real, p.source.c_str(), nullptr, 0, nullptr, nullptr) != SUCCESS) return false;
    bool good = real().compile(p.real, count, options) == SUCCESS;
    size_t size = 0;
    real().log_size(p.real, &size);
    std::vector<char> log(size + 1);
    real().log(p.real, log.data());
    p.log = log.data();
    if (good) {
        real().image_size(p.real, &size);
        std::vector<char> image(size + 1);
        real().image(p.real, image.data());
        p.image = image.data();
        write(kept, p.image);
    }
    real().destroy(&p.real);
    return good;
}

}  // namespace

API int nvrtcVersion(int *major, int *minor) {
    *major = 12, *minor = 8;
    return SUCCESS;
}

API const char *nvrtcGetErrorString(int code) { return code ? "NVRTC_ERROR" : "NVRTC_SUCCESS"; }

API int nvrtcCreateProgram(void **out, const char *source, const char *, int, const char *const *,
                           const char *const *) {
    auto *p = new Program;
    p->source = source;
    *out = p;
    return SUCCESS;
}

API int nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    auto &p = *(Program *)handle;
    std::lock_guard guard(lock);
    int n = ++number;
    auto from = std::chrono::steady_clock::now();
    bool execute = !real().present || getenv("SOFTWARE_CUDA_BOTH") || !software_idle();
    bool good = true;
    if (real().present) good = compile_there(p, count, options);
    if (good && execute) good = compile_here(p);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    spent += seconds;
    failures += !good;
    if (const char *folder = getenv("SOFTWARE_CUDA_KERNELS")) {
        mkdir(folder, 0777);
        char name[64];
        snprintf(name, sizeof name, "/%016lx", digest(p.source));
        std::string base = std::string(folder) + name;
        write(base + ".cu", p.source);
        if (!p.log.empty() && !p.cached) write(base + (good ? ".log" : ".failed"), p.log);
        FILE *f = fopen((std::string(folder) + "/times.tsv").c_str(), "a");
        if (f && !p.cached) {
            fprintf(f, "%s\t%d\t%.3f\t%d\t%d\t%.3f\n", name + 1, n, seconds, good, failures, spent);
            fclose(f);
        }
    }
    return good ? SUCCESS : COMPILATION;
}

API int nvrtcGetPTXSize(void *handle, size_t *size) {
    *size = ((Program *)handle)->image.size() + 1;
    return SUCCESS;
}

API int nvrtcGetPTX(void *handle, char *out) {
    auto &p = *(Program *)handle;
    memcpy(out, p.image.c_str(), p.image.size() + 1);
    return SUCCESS;
}

API int nvrtcGetCUBINSize(void *, size_t *size) {
    *size = 0;
    return SUCCESS;
}

API int nvrtcGetProgramLogSize(void *handle, size_t *size) {
    *size = ((Program *)handle)->log.size() + 1;
    return SUCCESS;
}

API int nvrtcGetProgramLog(void *handle, char *out) {
    auto &p = *(Program *)handle;
    memcpy(out, p.log.c_str(), p.log.size() + 1);
    return SUCCESS;
}

API int nvrtcDestroyProgram(void **handle) {
    delete (Program *)*handle;
    *handle = nullptr;
    return SUCCESS;
}
