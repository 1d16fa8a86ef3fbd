/* A fake libnvidia-ml.so.1 for tests. Its answers come from the text file that FAKE_NVML_STATE names, read anew on every
 * call, so that a test can change them while a run goes on. Lines are "key=value"; "key.INDEX=value" is for one GPU,
 * "error.FUNCTION=CODE" makes a function fail with an NVML return code, "delay_us.FUNCTION=N" (or "delay_us=N" for all)
 * makes it slow and "hang.FUNCTION=1" never return. Energy and the counters of throttled time go on by themselves: power
 * and reasons are integrated from call to call. Calls are appended to FAKE_NVML_LOG as "THREAD FUNCTION" where that is
 * set. Compiled with OLD_DRIVER it lacks what drivers before 525 lack. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define MOST_GPUS 16
#define MOST_SLICES 7
#define WHOLE (-1)

typedef int Return;
typedef unsigned long long Wide;
typedef struct { int index, slice; } Gpu; /* slice is WHOLE, or the number of a MIG slice */

static Gpu gpus[MOST_GPUS], slices[MOST_GPUS][MOST_SLICES];
static int initialized;

static int lookup(const char *key, char *value, size_t size) {
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    char line[512];
    size_t length = strlen(key);
    int found = 0;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static void text(const char *key, int index, const char *otherwise, char *out, unsigned size) {
    char own[96], value[256];
    snprintf(own, sizeof own, "%s.%d", key, index);
    if (lookup(own, value, sizeof value) || lookup(key, value, sizeof value)) snprintf(out, size, "%s", value);
    else snprintf(out, size, "%s", otherwise);
}

static Wide number(const char *key, int index, Wide otherwise) {
    char value[256];
    text(key, index, "", value, sizeof value);
    return value[0] ? strtoull(value, NULL, 0) : otherwise;
}

static Wide named(const char *key, const char *function) {
    char own[96], value[32];
    snprintf(own, sizeof own, "%s.%s", key, function);
    return lookup(own, value, sizeof value) ? strtoull(value, NULL, 0) : 0;
}

static void note(const char *function) {
    const char *path = getenv("FAKE_NVML_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%ld %s\n", (long)syscall(SYS_gettid), function);
    fclose(file);
}

static Return failure(const char *function) {
    note(function);
    while (named("hang", function)) usleep(100000);
    Wide delay = named("delay_us", function);
    usleep((useconds_t)(delay ? delay : number("delay_us", -2, 0)));
    return (Return)named("error", function);
}

#define BEGIN                                            \
    do {                                                 \
        Return failed_ = failure(__func__);              \
        if (failed_ != SUCCESS) return failed_;          \
        if (!initialized) return UNINITIALIZED;          \
    } while (0)

static Return initialize(void) {
    Return failed = failure("nvmlInit");
    if (failed == SUCCESS) initialized++;
    return failed;
}

Return nvmlInitWithFlags(unsigned flags) { (void)flags; return initialize(); }
Return nvmlInit_v2(void) { return initialize(); }
Return nvmlInit(void) { return initialize(); }
Return nvmlShutdown(void) { BEGIN; initialized--; return SUCCESS; }

const char *nvmlErrorString(Return code) {
    switch (code) {
        case 0: return "Success";
        case 1: return "Uninitialized";
        case 2: return "Invalid Argument";
        case 3: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case 6: return "Not Found";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 19: return "In use by another client";
        default: return "Unknown Error";
    }
}

Return nvmlSystemGetDriverVersion(char *out, unsigned size) { BEGIN; text("driver", 0, "580.95.05", out, size); return SUCCESS; }
Return nvmlDeviceGetCount_v2(unsigned *out) { BEGIN; *out = (unsigned)number("count", 0, 1); return SUCCESS; }

static Gpu *gpu_at(int index) {
    gpus[index] = (Gpu){index, WHOLE};
    return &gpus[index];
}

static Gpu *slice_at(int index, int slice) {
    slices[index][slice] = (Gpu){index, slice};
    return &slices[index][slice];
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **out) {
    BEGIN;
    if (index >= number("count", 0, 1) || index >= MOST_GPUS) return INVALID_ARGUMENT;
    if (number("unreadable", (int)index, 0)) return (Return)number("unreadable", (int)index, 0);
    *out = gpu_at((int)index);
    return SUCCESS;
}

static void uuid_of(Gpu *gpu, char *out, unsigned size) {
    char otherwise[64], key[32];
    if (gpu->slice == WHOLE) {
        snprintf(otherwise, sizeof otherwise, "GPU-00000000-0000-0000-0000-%012d", gpu->index);
        text("uuid", gpu->index, otherwise, out, size);
    } else {
        snprintf(otherwise, sizeof otherwise, "MIG-00000000-0000-0000-%04d-%012d", gpu->index, gpu->slice);
        snprintf(key, sizeof key, "slice_uuid.%d", gpu->index);
        text(key, gpu->slice, otherwise, out, size);
    }
}

Return nvmlDeviceGetUUID(Gpu *gpu, char *out, unsigned size) { BEGIN; uuid_of(gpu, out, size); return SUCCESS; }

Return nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **out) {
    BEGIN;
    for (int index = 0; index < (int)number("count", 0, 1) && index < MOST_GPUS; index++) {
        for (int slice = WHOLE; slice < (int)number("slices", index, 0); slice++) {
            Gpu *gpu = slice == WHOLE ? gpu_at(index) : slice_at(index, slice);
            char own[96];
            uuid_of(gpu, own, sizeof own);
            if (strcmp(own, uuid) == 0) { *out = gpu; return SUCCESS; }
        }
    }
    return NOT_FOUND;
}

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} Pci;

static void bus_of(int index, char *out, unsigned size) {
    char otherwise[32];
    snprintf(otherwise, sizeof otherwise, "00000000:%02X:00.0", 16 * index + 27);
    text("pci", index, otherwise, out, size);
}

Return nvmlDeviceGetPciInfo_v3(Gpu *gpu, Pci *out) { BEGIN; memset(out, 0, sizeof *out); bus_of(gpu->index, out->busId, sizeof out->busId); return SUCCESS; }

Return nvmlDeviceGetHandleByPciBusId_v2(const char *bus, Gpu **out) {
    BEGIN;
    for (int index = 0; index < (int)number("count", 0, 1) && index < MOST_GPUS; index++) {
        char own[32];
        bus_of(index, own, sizeof own);
        if (strcmp(own, bus) == 0) { *out = gpu_at(index); return SUCCESS; }
    }
    return NOT_FOUND;
}

Return nvmlDeviceGetName(Gpu *gpu, char *out, unsigned size) {
    BEGIN;
    char whole[96];
    text("name", gpu->index, "NVIDIA H100 80GB HBM3", whole, sizeof whole);
    if (gpu->slice == WHOLE) snprintf(out, size, "%s", whole);
    else snprintf(out, size, "%s MIG 3g.40gb", whole);
    return SUCCESS;
}

/* MIG */
Return nvmlDeviceGetMigMode(Gpu *gpu, unsigned *now, unsigned *pending) { BEGIN; *now = *pending = number("slices", gpu->index, 0) > 0; return SUCCESS; }
Return nvmlDeviceIsMigDeviceHandle(Gpu *gpu, unsigned *out) { BEGIN; *out = gpu->slice != WHOLE; return SUCCESS; }
Return nvmlDeviceGetMaxMigDeviceCount(Gpu *gpu, unsigned *out) { BEGIN; (void)gpu; *out = MOST_SLICES; return SUCCESS; }
Return nvmlDeviceGetGpuInstanceId(Gpu *gpu, unsigned *out) { BEGIN; *out = (unsigned)gpu->slice; return SUCCESS; }
Return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Gpu *gpu, Gpu **out) { BEGIN; *out = gpu_at(gpu->index); return SUCCESS; }

Return nvmlDeviceGetMigDeviceHandleByIndex(Gpu *gpu, unsigned slice, Gpu **out) {
    BEGIN;
    if (slice >= number("slices", gpu->index, 0)) return NOT_FOUND;
    *out = slice_at(gpu->index, (int)slice);
    return SUCCESS;
}

typedef struct { unsigned multiprocessorCount, others[7]; Wide memorySizeMB; } Attributes;
Return nvmlDeviceGetAttributes_v2(Gpu *gpu, Attributes *out) {
    BEGIN;
    if (gpu->slice == WHOLE) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    out->multiprocessorCount = (unsigned)number("slice_sms", gpu->index, 60);
    return SUCCESS;
}

/* Readings; clocks and power of a slice are not supported, as on a real driver. */
#define OF_WHOLE BEGIN; if (gpu->slice != WHOLE) return NOT_SUPPORTED

Return nvmlDeviceGetClockInfo(Gpu *gpu, int type, unsigned *out) { OF_WHOLE; *out = (unsigned)number(type == 1 ? "sm_clock" : "other_clock", gpu->index, 1980); return SUCCESS; }
Return nvmlDeviceGetMaxClockInfo(Gpu *gpu, int type, unsigned *out) { OF_WHOLE; (void)type; *out = (unsigned)number("max_sm_clock", gpu->index, 1980); return SUCCESS; }
Return nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *out) { OF_WHOLE; *out = (unsigned)number("power_mw", gpu->index, 700000); return SUCCESS; }
Return nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *out) { OF_WHOLE; *out = (unsigned)number("limit_mw", gpu->index, 700000); return SUCCESS; }
Return nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *out) { OF_WHOLE; (void)sensor; *out = (unsigned)number("temperature", gpu->index, 64); return SUCCESS; }
Return nvmlDeviceGetCudaComputeCapability(Gpu *gpu, int *major, int *minor) { OF_WHOLE; *major = (int)number("cc_major", gpu->index, 9); *minor = (int)number("cc_minor", gpu->index, 0); return SUCCESS; }
Return nvmlDeviceGetNumGpuCores(Gpu *gpu, unsigned *out) { OF_WHOLE; *out = (unsigned)number("cores", gpu->index, 16896); return SUCCESS; }
Return nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *gpu, Wide *out) { OF_WHOLE; *out = number("reasons", gpu->index, 0); return SUCCESS; }

typedef struct { unsigned gpu, memory; } Utilization;
Return nvmlDeviceGetUtilizationRates(Gpu *gpu, Utilization *out) { OF_WHOLE; out->gpu = (unsigned)number("utilization", gpu->index, 100); out->memory = 0; return SUCCESS; }

#ifndef OLD_DRIVER
static double energy_mj[MOST_GPUS], throttled_ns[MOST_GPUS][64], power_then[MOST_GPUS], integrated_until[MOST_GPUS];
static Wide reasons_then[MOST_GPUS];

/* Integrate power and reasons since the last call that asked for either. */
static void integrate(int index) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    double now = time.tv_sec + time.tv_nsec / 1e9;
    double seconds = integrated_until[index] ? now - integrated_until[index] : 0;
    energy_mj[index] += power_then[index] * seconds;
    for (int bit = 0; bit < 64; bit++) {
        if (reasons_then[index] >> bit & 1) throttled_ns[index][bit] += seconds * 1e9;
    }
    integrated_until[index] = now;
    power_then[index] = (double)number("power_mw", index, 700000);
    reasons_then[index] = number("reasons", index, 0);
}

Return nvmlDeviceGetCurrentClocksEventReasons(Gpu *gpu, Wide *out) { OF_WHOLE; *out = number("reasons", gpu->index, 0); return SUCCESS; }

Return nvmlDeviceGetTotalEnergyConsumption(Gpu *gpu, Wide *out) {
    OF_WHOLE;
    integrate(gpu->index);
    static double kept_mj[MOST_GPUS];
    if (!number("energy_still", gpu->index, 0)) kept_mj[gpu->index] = energy_mj[gpu->index];
    Wide total = number("energy_start_mj", gpu->index, 123456789) + (Wide)kept_mj[gpu->index];
    *out = number("energy_bits", gpu->index, 64) == 32 ? total & 0xFFFFFFFFull : total;
    return SUCCESS;
}

typedef struct {
    unsigned fieldId, scopeId;
    long long timestamp, latencyUsec;
    unsigned valueType;
    Return nvmlReturn;
    union { double real; Wide whole; } value;
} Field;

Return nvmlDeviceGetFieldValues(Gpu *gpu, int count, Field *fields) {
    OF_WHOLE;
    integrate(gpu->index);
    static const int bits[][2] = {{74, 2}, {76, 4}, {269, 5}, {270, 6}, {271, 7}};
    for (int each = 0; each < count; each++) {
        fields[each].nvmlReturn = NOT_SUPPORTED;
        for (unsigned row = 0; number("counters", gpu->index, 1) && row < sizeof bits / sizeof *bits; row++) {
            if (bits[row][0] != (int)fields[each].fieldId) continue;
            fields[each].nvmlReturn = SUCCESS;
            fields[each].valueType = 3;
            fields[each].value.whole = (Wide)(throttled_ns[gpu->index][bits[row][1]] / (double)number("counter_divisor", gpu->index, 1));
        }
    }
    return SUCCESS;
}

/* GPM: a sample is the number of the device that it was taken of. */
typedef struct { unsigned version, isSupportedDevice; } Support;
typedef struct { unsigned metricId; Return nvmlReturn; double value; char *names[3]; } Metric;
typedef struct { unsigned version, numMetrics; Gpu *first, *second; Metric metrics[]; } Metrics;

Return nvmlGpmQueryDeviceSupport(Gpu *gpu, Support *out) { BEGIN; out->isSupportedDevice = (unsigned)number("gpm", gpu->index, 1); return SUCCESS; }
Return nvmlGpmSampleAlloc(Gpu **out) { BEGIN; *out = calloc(1, sizeof **out); return SUCCESS; }
Return nvmlGpmSampleFree(Gpu *sample) { BEGIN; free(sample); return SUCCESS; }
Return nvmlGpmSampleGet(Gpu *gpu, Gpu *sample) { BEGIN; *sample = *gpu; return SUCCESS; }
Return nvmlGpmMigSampleGet(Gpu *gpu, unsigned slice, Gpu *sample) { BEGIN; *sample = (Gpu){gpu->index, (int)slice}; return SUCCESS; }

Return nvmlGpmMetricsGet(Metrics *request) {
    BEGIN;
    for (unsigned each = 0; each < request->numMetrics; each++) {
        Metric *metric = &request->metrics[each];
        metric->nvmlReturn = metric->metricId == 5 ? SUCCESS : NOT_SUPPORTED;
        metric->value = (double)number("tensor_percent", request->second->index, 40);
        if (number("tensor_nan", request->second->index, 0)) metric->value = 0.0 / (metric->value - metric->value);
    }
    return SUCCESS;
}
#endif
