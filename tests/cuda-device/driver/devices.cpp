// Devices, their attributes, and contexts.

#include "state.h"

API CUresult cuInit(unsigned) { return state().devices.empty() ? NO_DEVICE : SUCCESS; }

static bool exists(int device) { return device >= 0 && device < int(state().devices.size()); }

API CUresult cuDriverGetVersion(int *version) {
    *version = 12080;
    return SUCCESS;
}

API CUresult cuGetErrorName(CUresult code, const char **out) {
    switch (code) {
        case SUCCESS: *out = "CUDA_SUCCESS"; break;
        case INVALID_VALUE: *out = "CUDA_ERROR_INVALID_VALUE"; break;
        case OUT_OF_MEMORY: *out = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case NO_DEVICE: *out = "CUDA_ERROR_NO_DEVICE"; break;
        case INVALID_DEVICE: *out = "CUDA_ERROR_INVALID_DEVICE"; break;
        case INVALID_IMAGE: *out = "CUDA_ERROR_INVALID_IMAGE"; break;
        case INVALID_CONTEXT: *out = "CUDA_ERROR_INVALID_CONTEXT"; break;
        case INVALID_HANDLE: *out = "CUDA_ERROR_INVALID_HANDLE"; break;
        case NOT_FOUND: *out = "CUDA_ERROR_NOT_FOUND"; break;
        case ILLEGAL_ADDRESS: *out = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
        case LAUNCH_OUT_OF_RESOURCES: *out = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"; break;
        case PEER_ACCESS_ALREADY_ENABLED: *out = "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED"; break;
        case PEER_ACCESS_NOT_ENABLED: *out = "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED"; break;
        case LAUNCH_FAILED: *out = "CUDA_ERROR_LAUNCH_FAILED"; break;
        default: *out = "CUDA_ERROR_NOT_SUPPORTED"; break;
    }
    return SUCCESS;
}

API CUresult cuGetErrorString(CUresult code, const char **out) { return cuGetErrorName(code, out); }

API CUresult cuDeviceGetCount(int *count) {
    *count = int(state().devices.size());
    return SUCCESS;
}

API CUresult cuDeviceGet(int *device, int ordinal) {
    if (!exists(ordinal)) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

API CUresult cuDeviceGetName(char *name, int length, int device) {
    if (!exists(device)) return INVALID_DEVICE;
    snprintf(name, length, "Software H100");
    return SUCCESS;
}

API CUresult cuDeviceGetUuid_v2(char *uuid, int device) {
    if (!exists(device)) return INVALID_DEVICE;
    memset(uuid, 0x11, 16);
    uuid[3] = char(0x11 + state().devices[device].physical);
    return SUCCESS;
}

API CUresult cuDeviceGetUuid(char *uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }

API CUresult cuDeviceGetPCIBusId(char *out, int length, int device) {
    if (!exists(device)) return INVALID_DEVICE;
    snprintf(out, length, "0000:%02X:00.0", state().devices[device].physical + 1);
    return SUCCESS;
}

API CUresult cuDeviceTotalMem_v2(size_t *bytes, int device) {
    if (!exists(device)) return INVALID_DEVICE;
    *bytes = state().total;
    return SUCCESS;
}

API CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (!exists(device)) return INVALID_DEVICE;
    int c = state().capability;
    static const std::map<int, int> known = {
        {1, 1024},         {2, 1024},     {3, 1024},   {4, 64},      {5, 0x7fffffff}, {6, 65535},
        {7, 65535},        {8, 48 << 10}, {9, 65536},  {10, 32},     {11, 0x7fffffff}, {12, 65536},
        {13, 1980000},     {14, 512},     {15, 1},     {16, 132},    {17, 0},          {18, 0},
        {19, 1},           {20, 0},       {31, 1},     {32, 0},      {34, 0},
        {35, 0},           {36, 2619000}, {37, 5120},  {38, 50 << 20}, {39, 2048},     {40, 3},
        {41, 1},           {50, 0},       {78, 1},     {79, 1},      {80, 1},          {81, 228 << 10},
        {82, 65536},       {83, 1},       {84, 0},     {86, 1},      {87, 2},          {88, 0},
        {89, 1},           {90, 1},       {91, 1},     {95, 1},      {96, 1},          {97, 227 << 10},
        {106, 32},         {111, 1 << 10}, {115, 1},   {116, 0},     {120, 1},
    };
    if (attribute == 75)
        *value = c / 10;
    else if (attribute == 76)
        *value = c % 10;
    else if (attribute == 33)  // PCI_BUS_ID
        *value = state().devices[device].physical + 1;
    else {
        auto found = known.find(attribute);
        *value = found == known.end() ? 0 : found->second;
        if (found == known.end()) fprintf(stderr, "software-cuda: attribute %d of the device is taken as 0\n", attribute);
    }
    return SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
    if (!exists(device)) return INVALID_DEVICE;
    *context = &state().devices[device].context;
    return SUCCESS;
}

API CUresult cuDevicePrimaryCtxRelease_v2(int device) { return exists(device) ? SUCCESS : INVALID_DEVICE; }
API CUresult cuDevicePrimaryCtxSetFlags_v2(int device, unsigned) { return exists(device) ? SUCCESS : INVALID_DEVICE; }

API CUresult cuCtxSetCurrent(void *context) {
    if (!contexts.empty()) contexts.pop_back();
    if (context) contexts.push_back((Context *)context);
    return SUCCESS;
}

API CUresult cuCtxPushCurrent_v2(void *context) {
    if (!context) return INVALID_CONTEXT;
    contexts.push_back((Context *)context);
    return SUCCESS;
}

API CUresult cuCtxPopCurrent_v2(void **context) {
    if (contexts.empty()) return INVALID_CONTEXT;
    if (context) *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}

API CUresult cuCtxGetCurrent(void **context) {
    *context = contexts.empty() ? nullptr : contexts.back();
    return SUCCESS;
}

API CUresult cuCtxGetDevice(int *device) {
    *device = state().here();
    return *device < 0 ? INVALID_CONTEXT : SUCCESS;
}

// Every device reaches every other, once its context says so.
API CUresult cuDeviceCanAccessPeer(int *can, int device, int peer) {
    if (!exists(device) || !exists(peer)) return INVALID_DEVICE;
    *can = device != peer;
    return SUCCESS;
}

API CUresult cuDeviceGetP2PAttribute(int *value, int attribute, int device, int peer) {
    if (!exists(device) || !exists(peer) || device == peer) return INVALID_DEVICE;
    *value = attribute != 1;  // PERFORMANCE_RANK: 0 is the best
    return SUCCESS;
}

API CUresult cuCtxEnablePeerAccess(void *peer, unsigned flags) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (flags) return INVALID_VALUE;
    if (s.here() < 0 || !peer) return INVALID_CONTEXT;
    int other = ((Context *)peer)->device;
    if (other == s.here()) return INVALID_DEVICE;
    return contexts.back()->peers.insert(other).second ? SUCCESS : PEER_ACCESS_ALREADY_ENABLED;
}

API CUresult cuCtxDisablePeerAccess(void *peer) {
    State &s = state();
    std::lock_guard guard(s.lock);
    if (s.here() < 0 || !peer) return INVALID_CONTEXT;
    return contexts.back()->peers.erase(((Context *)peer)->device) ? SUCCESS : PEER_ACCESS_NOT_ENABLED;
}

API CUresult cuCtxSynchronize() {
    State &s = state();
    std::lock_guard guard(s.lock);
    s.context_syncs++;
    s.mark("context");
    return s.finish(s.asked);
}
