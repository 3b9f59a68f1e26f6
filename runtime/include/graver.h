/* A language model compiled by Graver: token ids in, logits out; or text in, text out.
 *
 *     graver *model = graver_open(NULL);
 *     if (!model) { fprintf(stderr, "%s\n", graver_error()); exit(1); }
 *     uint32_t tokens[] = {1, 403, 407, 261, 378};
 *     if (graver_feed(model, 0, tokens, 5, GRAVER_LAST)) { ... graver_error() ... }
 *     const float *logits = graver_logits(model, 0);        // graver_vocab(model) numbers
 *     ... choose the next token, feed it, read the logits again ...
 *     graver_close(model);
 *
 * With text, where the model was compiled from a folder with a tokenizer:
 *
 *     int show(void *data, uint32_t token, const char *text, size_t n) { return fwrite(text, 1, n, stdout) != n; }
 *     ...
 *     size_t n = graver_tokenize(model, "Once upon a time", tokens, ROOM);
 *     if (n == GRAVER_FAILED || n > ROOM || graver_generate(model, 0, tokens, n, NULL, show, NULL)) { ... }
 *
 * Threads. A model computes with threads of its own; a call returns when the work is done. One model must not be used by
 * two threads at once, whichever functions they call; it may be used by one thread after another. Several models, opened
 * separately, may be used at the same time. After fork() the child must not use models of the parent.
 *
 * Errors. Functions that can fail return NULL or a number other than 0, and graver_error() says why. A call that failed has
 * changed nothing. No function ends the process or prints anything, but for a fault inside the library, which prints where
 * it happened before it is reported as an error. NULL in place of a model, options or array is either said to be fine or an error;
 * functions that return a number or an address return 0 or NULL for it. Texts are UTF-8; a path may have any bytes.
 *
 * Results do not depend on the number of threads, nor on how a text is cut into calls: logits are those of all of a sequence's
 * tokens fed at once. In models whose RoPE has other frequencies for long texts (LongRoPE: `length_switches` in the manifest), the
 * call that takes a sequence over such a length, or goes on below it after graver_truncate, computes the whole sequence anew. That
 * takes as long as feeding it did; graver_expect avoids it.
 */
#ifndef GRAVER_H
#define GRAVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A model with its weights, threads and sequences. */
typedef struct graver graver;

/* How to open a model. A field that is 0 stands for the default. */
typedef struct graver_options {
    size_t size;         /* sizeof(graver_options), so that a library with another header can tell; 0: it cannot */
    const char *weights; /* file of weights; default: in the library itself, or the .weights file beside it */
    size_t threads;      /* threads to compute with, the caller included; default: as many as this process may use */
    size_t context;      /* tokens each sequence has room for; default: what the model was made for, at most 4096 */
    size_t sequences;    /* sequences that are held at once; default: 1 */
    int pin;             /* not 0: bind each thread to a processor, the caller too, which then has to make all calls */
} graver_options;

/* Some tokens that continue one sequence. */
typedef struct graver_segment {
    size_t sequence;        /* from 0 */
    const uint32_t *tokens; /* token ids */
    size_t n_tokens;        /* at least 1 */
} graver_segment;

/* Which tokens' logits a call computes. */
enum {
    GRAVER_NONE = 0, /* none: the call only extends the sequences */
    GRAVER_LAST = 1, /* the last token's of each segment */
    GRAVER_ALL = 2   /* every token's */
};

/* Opens the model; NULL for options means defaults. Returns NULL when it fails: this processor lacks a feature that the
 * code needs, a file is missing or damaged, or memory is short. */
graver *graver_open(const graver_options *options);

/* Frees all that belongs to a model, its logits included. NULL is fine. */
void graver_close(graver *model);

/* Why the last call that failed on this thread failed; "" if none has. Valid until the next call on this thread. */
const char *graver_error(void);

/* Appends any number of tokens to a sequence and computes the logits wanted. Returns 0, or -1 when it fails: a token id or
 * sequence that does not exist, or more tokens than the context has room for. */
int graver_feed(graver *model, size_t sequence, const uint32_t *tokens, size_t n_tokens, int wanted);

/* Appends to several sequences at once, at most graver_max_step(model) tokens together, each sequence in one segment. For
 * one token of each of several sequences this is much faster than one call after the other. Returns 0 or -1. */
int graver_step(graver *model, const graver_segment *segments, size_t n_segments, int wanted);

/* Rows of logits that the last graver_feed or graver_step computed. */
size_t graver_rows(const graver *model);

/* Logits of row 0 to graver_rows(model) - 1, graver_vocab(model) numbers; rows are in the order of the tokens they follow.
 * Valid until the next graver_feed, graver_step or graver_close of this model. NULL where there is no such row. */
const float *graver_logits(const graver *model, size_t row);

/* Number of token ids, and of logits in a row. */
size_t graver_vocab(const graver *model);

/* Tokens that each sequence has room for. */
size_t graver_context(const graver *model);

/* The most tokens of one graver_step. */
size_t graver_max_step(const graver *model);

/* Tokens that a sequence holds; 0 for one that does not exist. */
size_t graver_position(const graver *model, size_t sequence);

/* Says that a sequence will have at least so many tokens. Only models with `length_switches` in their manifest care: from the next
 * call on until graver_reset, logits are those of a text that has so many tokens, and growing up to there computes nothing
 * anew. A sequence may become longer, or stay shorter, than was said. Returns 0 or -1. */
int graver_expect(graver *model, size_t sequence, size_t n_tokens);

/* Begins a sequence anew. Returns 0 or -1. */
int graver_reset(graver *model, size_t sequence);

/* Forgets what a sequence holds after its first `position` tokens; 0 is graver_reset. Returns 0, or -1 where the model cannot go
 * back so far. */
int graver_truncate(graver *model, size_t sequence, size_t position);

/* Makes one sequence an independent copy of another. Returns 0 or -1. */
int graver_copy(graver *model, size_t from, size_t to);

/* What functions that count return where they fail. */
#define GRAVER_FAILED ((size_t)-1)

/* Token ids of a prompt, which ends with a zero, with the special tokens that the model's files ask for. Writes as many as there is room
 * for, and returns how many there are, which may be more; or GRAVER_FAILED. `tokens` may be NULL where room is 0. */
size_t graver_tokenize(const graver *model, const char *text, uint32_t *tokens, size_t room);

/* Text of token ids, without special tokens. Writes as many whole characters as there is room for, and a zero; returns the text's length in
 * bytes without the zero, which may be more; or GRAVER_FAILED. `text` may be NULL where room is 0. */
size_t graver_detokenize(const graver *model, const uint32_t *tokens, size_t n_tokens, char *text, size_t room);

/* How a text goes on. With all fields 0 the likeliest token is taken each time, until the text or the context ends. */
typedef struct graver_sampling {
    size_t size;          /* sizeof(graver_sampling), so that a library with another header can tell; 0: it cannot */
    size_t max_tokens;    /* tokens at most; 0: as many as the context has room for */
    float temperature;    /* logits are divided by it; 0: the likeliest token each time */
    float top_p;          /* of the likeliest tokens, those that together reach this probability; 0: all */
    float min_p;          /* tokens at least so likely, measured against the likeliest; 0: all */
    float repeat_penalty; /* tokens that occurred before become less likely by this factor; 0 or 1: they do not */
    size_t top_k;         /* only so many of the likeliest tokens; 0: all */
    uint64_t seed;        /* of the random numbers */
    int ignore_eos;       /* not 0: go on after a token that ends a text */
} graver_sampling;

/* Stands for a token where there is none: text that was held back, at the end. */
#define GRAVER_NO_TOKEN UINT32_MAX

/* Hears of each token as it is chosen, with the text that it settles: n_bytes bytes of UTF-8, whole characters, without a zero at the end;
 * often its own, sometimes none yet. Without a tokenizer there is never any text. Returns 0 to go on, another number to stop. It must not
 * call functions with this model. */
typedef int (*graver_piece)(void *data, uint32_t token, const char *text, size_t n_bytes);

/* Appends tokens to a sequence, at least one, and goes on from there, calling `callback` with `data` for each token. The sequence then
 * holds all of these tokens but the last. NULL for sampling means all fields 0. Logits of earlier calls are gone. Returns 0 or -1; after
 * -1 the sequence may hold some of the tokens. */
int graver_generate(graver *model, size_t sequence, const uint32_t *tokens, size_t n_tokens, const graver_sampling *sampling,
                    graver_piece callback, void *data);

/* What was compiled, as JSON: spec, sizes, types, passes, target, tokens that end a text (`eos`). Lives as long as the model. */
const char *graver_manifest(const graver *model);

#ifdef __cplusplus
}
#endif

#endif
