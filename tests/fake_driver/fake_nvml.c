/* A fake libnvidia-ml.so.1 for tests. Its answers come from the text file that FAKE_NVML_STATE names, read anew on every
 * call, so that a test can change them while a run goes on. Lines are "key=value"; "key.INDEX=value" is for one GPU, and
 * "error.FUNCTION=CODE" makes a function fail with an NVML return code. Calls are appended to FAKE_NVML_LOG as
 * "THREAD FUNCTION" where that is set. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_FOUND 6
#define MOST_GPUS 16

typedef int Return;
typedef struct { int index; } Gpu;

static Gpu gpus[MOST_GPUS];
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

static unsigned long long number(const char *key, int index, unsigned long long otherwise) {
    char value[256];
    text(key, index, "", value, sizeof value);
    return value[0] ? strtoull(value, NULL, 0) : otherwise;
}

static void note(const char *function) {
    const char *path = getenv("FAKE_NVML_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%ld %s\n", (long)syscall(SYS_gettid), function);
    fclose(file);
}

static Return failure(const char *function) {
    char key[96], value[32];
    note(function);
    snprintf(key, sizeof key, "error.%s", function);
    if (lookup(key, value, sizeof value)) return atoi(value);
    return SUCCESS;
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
        default: return "Unknown Error";
    }
}

Return nvmlSystemGetDriverVersion(char *out, unsigned size) { BEGIN; text("driver", 0, "580.95.05", out, size); return SUCCESS; }
Return nvmlDeviceGetCount_v2(unsigned *out) { BEGIN; *out = (unsigned)number("count", 0, 1); return SUCCESS; }

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **out) {
    BEGIN;
    if (index >= number("count", 0, 1) || index >= MOST_GPUS) return INVALID_ARGUMENT;
    gpus[index].index = (int)index;
    *out = &gpus[index];
    return SUCCESS;
}

static void uuid_of(int index, char *out, unsigned size) {
    char otherwise[64];
    snprintf(otherwise, sizeof otherwise, "GPU-00000000-0000-0000-0000-%012d", index);
    text("uuid", index, otherwise, out, size);
}

Return nvmlDeviceGetUUID(Gpu *gpu, char *out, unsigned size) { BEGIN; uuid_of(gpu->index, out, size); return SUCCESS; }

Return nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **out) {
    BEGIN;
    for (unsigned index = 0; index < number("count", 0, 1) && index < MOST_GPUS; index++) {
        char own[96];
        uuid_of((int)index, own, sizeof own);
        if (strcmp(own, uuid) == 0) { gpus[index].index = (int)index; *out = &gpus[index]; return SUCCESS; }
    }
    return NOT_FOUND;
}

Return nvmlDeviceGetName(Gpu *gpu, char *out, unsigned size) { BEGIN; text("name", gpu->index, "NVIDIA H100 80GB HBM3", out, size); return SUCCESS; }

Return nvmlDeviceGetClockInfo(Gpu *gpu, int type, unsigned *out) {
    BEGIN;
    usleep((useconds_t)number("delay_us", gpu->index, 0));
    *out = (unsigned)number(type == 1 ? "sm_clock" : "other_clock", gpu->index, 1980);
    return SUCCESS;
}

Return nvmlDeviceGetMaxClockInfo(Gpu *gpu, int type, unsigned *out) { BEGIN; (void)type; *out = (unsigned)number("max_sm_clock", gpu->index, 1980); return SUCCESS; }
Return nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *out) { BEGIN; *out = (unsigned)number("power_mw", gpu->index, 698123); return SUCCESS; }
Return nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *out) { BEGIN; *out = (unsigned)number("limit_mw", gpu->index, 700000); return SUCCESS; }
Return nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *out) { BEGIN; (void)sensor; *out = (unsigned)number("temperature", gpu->index, 64); return SUCCESS; }
