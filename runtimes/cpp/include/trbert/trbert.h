/* The same engine for other languages, over C.
 *
 *     trbert_engine* engine = NULL;
 *     char* answers = NULL;
 *     if (trbert_load("bundle/", NULL, &engine) != TRBERT_OK) puts(trbert_last_error());
 *     if (trbert_predict(engine, "{\"text\": \"A wonderful film.\"}\n", &answers) == TRBERT_OK) puts(answers);
 *     trbert_free_text(answers);
 *     trbert_free(engine);
 *
 * An engine may be used from several threads at once. Every function that can fail returns a code; the message is the
 * calling thread's until its next failure. See trbert.hpp for what inputs, outputs and items are. */
#ifndef TRBERT_H
#define TRBERT_H

#include <stddef.h>
#include <stdint.h>

#include <trbert/export.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum trbert_code {
    TRBERT_OK = 0,
    TRBERT_INPUT = 1,
    TRBERT_BUNDLE = 2,
    TRBERT_DEVICE = 3,
    TRBERT_CONFIGURATION = 4,
    TRBERT_RUNTIME = 5,
    TRBERT_CHECK = 6,
    TRBERT_INTERNAL = 7 /* out of memory and the like */
} trbert_code;

typedef struct trbert_engine trbert_engine;
typedef struct trbert_output trbert_output;

/* Zero everywhere is the default. */
typedef struct trbert_options {
    const char* mode;             /* "staged", "fused", "dense"; NULL: staged */
    const char* device;           /* "cpu", "cuda"; NULL: cpu, of TensorRT cuda */
    int threads;                  /* 0: the pool's size, or every core */
    int own_pool;                 /* not 0: thread pools of its own */
    int check_sha256;             /* not 0: compare every file with the manifest first */
    const char* runtime;          /* "ort", "trt"; NULL: ort */
    const char* provider;         /* of ONNX Runtime: "tensorrt", "rtx"; NULL: the device's own */
    const char* provider_library; /* of "rtx": its plugin, where ONNX Runtime was built without it */
    const char* engines;          /* folder of TensorRT engines; NULL: beside the bundle */
    const char* memory;           /* of ONNX Runtime on the CPU: "lean", "arena", "shrink"; NULL: lean */
    int64_t group_tokens;         /* rows run together up to so many; 0: 4096 on a CPU, else 16384 */
} trbert_options;

/* One input by name; `data` is read during the call only. */
typedef struct trbert_input {
    const char* name;
    const int64_t* data;
    const int64_t* shape;
    size_t rank;
} trbert_input;

TRBERT_EXPORT trbert_code trbert_load(const char* bundle, const trbert_options* options, trbert_engine** engine);
TRBERT_EXPORT void trbert_free(trbert_engine* engine);

TRBERT_EXPORT trbert_code trbert_run(const trbert_engine* engine, const trbert_input* inputs, size_t count,
                                     int want_kept, trbert_output** output);
/* Pointers into the output, valid until it is freed; TRBERT_INPUT where there is no such name, reduction or row. */
TRBERT_EXPORT trbert_code trbert_output_tensor(const trbert_output* output, const char* name, const float** data,
                                               const int64_t** shape, size_t* rank);
TRBERT_EXPORT trbert_code trbert_output_kept(const trbert_output* output, size_t reduction, size_t row,
                                             const int64_t** positions, size_t* count);
TRBERT_EXPORT void trbert_free_output(trbert_output* output);

/* JSON lines in, as many JSON lines out, to be freed with trbert_free_text. */
TRBERT_EXPORT trbert_code trbert_predict(const trbert_engine* engine, const char* json_lines, char** answers);
TRBERT_EXPORT void trbert_free_text(char* text);

/* Replay the golden vectors: TRBERT_CHECK and a message where something differs. */
TRBERT_EXPORT trbert_code trbert_verify(const trbert_engine* engine);

TRBERT_EXPORT const char* trbert_last_error(void);
TRBERT_EXPORT const char* trbert_version(void);

#ifdef __cplusplus
}
#endif
#endif
