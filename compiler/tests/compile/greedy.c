/* greedy decode THREADS N IDS: prints the N likeliest next tokens after IDS, one after the other.
 * greedy misuse: makes every mistake the header warns of that has to be reported, and sees that it is.
 * greedy sequences: two sequences at once, all logits, going back, copies. */
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, graver_error());
    exit(1);
}

static void expect(int holds, const char *what) {
    if (!holds) die(what);
}

static void expect_error(int failed, const char *text) {
    if (!failed || !strstr(graver_error(), text)) {
        fprintf(stderr, "expected an error with \"%s\", found \"%s\"\n", text, graver_error());
        exit(1);
    }
}

static uint32_t likeliest(const graver *model, size_t row) {
    const float *logits = graver_logits(model, row);
    size_t best = 0;
    for (size_t i = 1; i < graver_vocab(model); i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

static int decode(size_t threads, size_t n, char *ids) {
    uint32_t tokens[1024];
    size_t n_tokens = 0;
    for (char *id = strtok(ids, ","); id; id = strtok(NULL, ",")) tokens[n_tokens++] = (uint32_t)atoi(id);
    graver_options options = {0};
    options.threads = threads;
    graver *model = graver_open(&options);
    if (!model) die("graver_open");
    expect(graver_position(model, 0) == 0, "a new sequence is empty");
    if (graver_feed(model, 0, tokens, n_tokens, GRAVER_LAST)) die("graver_feed");
    for (size_t i = 0; i < n; i++) {
        uint32_t next = likeliest(model, 0);
        printf(i ? ",%u" : "%u", next);
        if (graver_feed(model, 0, &next, 1, GRAVER_LAST)) die("graver_feed");
    }
    printf("\n");
    expect(graver_position(model, 0) == n_tokens + n, "every token counts");
    expect(strstr(graver_manifest(model), "\"spec\"") != NULL, "the manifest is JSON");
    graver_close(model);
    return 0;
}

static int misuse(void) {
    uint32_t token = 1, big = UINT32_MAX;
    expect(strcmp(graver_error(), "") == 0, "no error before the first");
    graver_options options = {0};
    options.threads = 1000000;
    expect_error(graver_open(&options) == NULL, "--threads 1000000");
    options.threads = 1;
    options.size = sizeof options - 8;
    expect_error(graver_open(&options) == NULL, "options.size is 40; expected 0, or sizeof(graver_options), which is 48");
    options.size = sizeof options;
    options.context = (size_t)-1;
    expect_error(graver_open(&options) == NULL, "this model takes 1 to ");
    options.context = 4;
    graver *model = graver_open(&options);
    if (!model) die("graver_open");
    expect(graver_context(model) == 4, "the context is the one asked for");
    expect(graver_logits(model, 0) == NULL, "no logits before the first step");
    expect_error(graver_feed(NULL, 0, &token, 1, GRAVER_LAST), "graver_feed: model is NULL");
    expect_error(graver_feed(model, 0, NULL, 1, GRAVER_LAST), "graver_feed: tokens is NULL");
    expect_error(graver_feed(model, 0, &token, 1, 7), "wanted is 7");
    expect_error(graver_feed(model, 0, &token, 0, GRAVER_LAST), "no tokens");
    expect_error(graver_feed(model, 1, &token, 1, GRAVER_LAST), "sequence slot 1 does not exist");
    expect_error(graver_feed(model, 0, &big, 1, GRAVER_LAST), "token id 4294967295 is outside the vocabulary");
    expect_error(graver_feed(model, 0, &token, 1, -1), "wanted is -1");
    expect_error(graver_feed(model, 0, NULL, 0, GRAVER_LAST), "no tokens");
    expect_error(graver_feed(model, (size_t)-1, &token, 1, GRAVER_LAST), "sequence slot 18446744073709551615 does not exist");
    expect_error(graver_feed(model, 0, &token, (size_t)-1, GRAVER_LAST), "tokens has 18446744073709551615 elements at address");
    expect_error(graver_feed(model, 0, &token, (size_t)1 << 61, GRAVER_LAST), "tokens has 2305843009213693952 elements");
    expect_error(graver_feed(model, 0, (const uint32_t *)((const char *)&token + 1), 1, GRAVER_LAST), "tokens has 1 elements at");
    graver_segment bad[2] = {{0, &token, 1}, {0, NULL, 1}};
    expect_error(graver_step(NULL, bad, 1, GRAVER_LAST), "graver_step: model is NULL");
    expect_error(graver_step(model, NULL, 1, GRAVER_LAST), "graver_step: segments is NULL");
    expect_error(graver_step(model, NULL, 0, GRAVER_LAST), "a step needs at least one segment");
    expect_error(graver_step(model, bad, (size_t)-1, GRAVER_LAST), "segments has 18446744073709551615 elements");
    expect_error(graver_step(model, bad, 2, GRAVER_LAST), "a segment's tokens is NULL");
    bad[1].tokens = &token;
    expect_error(graver_step(model, bad, 2, GRAVER_LAST), "in two segments of one step");
    bad[1].n_tokens = 0;
    expect_error(graver_step(model, bad, 2, GRAVER_LAST), "no tokens for sequence slot 0");
    expect_error(graver_reset(model, 9), "sequence slot 9 does not exist");
    expect_error(graver_truncate(model, 9, 0), "sequence slot 9 does not exist");
    expect_error(graver_truncate(model, 0, 1), "cannot be truncated to position 1: only to 0; ");
    expect_error(graver_copy(model, 0, 9), "sequence slot 9 does not exist");
    expect_error(graver_copy(model, 9, 0), "sequence slot 9 does not exist");
    expect_error(graver_expect(model, 9, 1), "sequence slot 9 does not exist");
    expect(graver_expect(model, 0, (size_t)-1) == 0, "any length may be expected");
    expect_error(graver_reset(NULL, 0), "graver_reset: model is NULL");
    expect_error(graver_truncate(NULL, 0, 0), "graver_truncate: model is NULL");
    expect_error(graver_copy(NULL, 0, 0), "graver_copy: model is NULL");
    expect_error(graver_expect(NULL, 0, 0), "graver_expect: model is NULL");
    expect(graver_position(model, 0) == 0, "a failed call changes nothing");
    for (int i = 0; i < 4; i++)
        if (graver_feed(model, 0, &token, 1, GRAVER_LAST)) die("graver_feed");
    expect_error(graver_feed(model, 0, &token, 1, GRAVER_LAST), "do not fit a context of 4");
    expect(graver_logits(model, 1) == NULL, "no logits beyond the last row");
    expect(graver_reset(model, 0) == 0 && graver_position(model, 0) == 0, "a reset empties a sequence");
    expect(graver_position(model, 1) == 0, "a sequence that does not exist is empty");
    expect(graver_vocab(NULL) == 0 && graver_context(NULL) == 0 && graver_max_step(NULL) == 0, "NULL has no numbers");
    expect(graver_rows(NULL) == 0 && graver_position(NULL, 0) == 0, "NULL has no numbers");
    expect(graver_logits(NULL, 0) == NULL && graver_manifest(NULL) == NULL, "NULL has nothing");
    graver_close(model);
    graver_close(NULL);
    printf("done\n");
    return 0;
}

static int sequences(void) {
    uint32_t text[6] = {3, 1, 4, 1, 5, 9}, other[2] = {2, 7};
    graver_options options = {0};
    options.sequences = 3;
    graver *model = graver_open(&options);
    if (!model) die("graver_open");
    size_t row = graver_vocab(model) * sizeof(float);
    float *alone = malloc(6 * row);
    if (graver_feed(model, 0, text, 6, GRAVER_ALL)) die("graver_feed");
    expect(graver_rows(model) == 6, "a row for every token");
    memcpy(alone, graver_logits(model, 0), 6 * row);

    graver_segment both[2] = {{1, text, 6}, {2, other, 2}};
    expect(graver_max_step(model) >= 8, "eight tokens are one step");
    if (graver_step(model, both, 2, GRAVER_LAST)) die("graver_step");
    expect(graver_rows(model) == 2, "a row for every segment");
    expect(memcmp(graver_logits(model, 0), alone + 5 * graver_vocab(model), row) == 0, "company changes nothing");

    expect(graver_truncate(model, 0, 4) == 0 && graver_position(model, 0) == 4, "going back");
    expect(graver_copy(model, 0, 2) == 0 && graver_position(model, 2) == 4, "a copy");
    if (graver_feed(model, 2, text + 4, 2, GRAVER_NONE)) die("graver_feed");
    expect(graver_rows(model) == 0, "no rows where none are wanted");
    expect(graver_truncate(model, 2, 5) == 0, "going back again");
    if (graver_feed(model, 2, text + 5, 1, GRAVER_LAST)) die("graver_feed");
    for (size_t i = 0; i < graver_vocab(model); i++) {
        float difference = graver_logits(model, 0)[i] - alone[5 * graver_vocab(model) + i];
        expect(difference < 1e-3f && difference > -1e-3f, "a copy goes on as the original");
    }
    free(alone);
    graver_close(model);
    printf("done\n");
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "decode") == 0)
        return decode((size_t)atoi(argv[2]), (size_t)atoi(argv[3]), argv[4]);
    if (argc == 2 && strcmp(argv[1], "misuse") == 0) return misuse();
    if (argc == 2 && strcmp(argv[1], "sequences") == 0) return sequences();
    return 2;
}
