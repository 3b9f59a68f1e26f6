/* A model whose rotations change beyond 30 tokens: a text that grows over them or is cut to below has the logits of the text fed
 * at once, which sequence 1 gets. */
#include "model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BORDER = 30, MOST = 60 };

static graver *model;
static uint32_t text[MOST];

static void must(int status, const char *what) {
    if (status) {
        fprintf(stderr, "%s: %s\n", what, graver_error());
        exit(1);
    }
}

/* Compares the last logits of a call with those of the first n tokens at once. */
static void same(size_t n, const char *what) {
    float last[512], most = 0;
    size_t vocab = graver_vocab(model), rows = graver_rows(model);
    for (size_t i = 0; i < vocab; i++) last[i] = graver_logits(model, rows - 1)[i];
    must(graver_reset(model, 1), "graver_reset");
    must(graver_feed(model, 1, text, n, GRAVER_LAST), "graver_feed");
    for (size_t i = 0; i < vocab; i++) most = fmaxf(most, fabsf(last[i] - graver_logits(model, 0)[i]));
    if (!(most < 1e-4f)) {
        fprintf(stderr, "%s, %u tokens: off by %g\n", what, (unsigned)n, most);
        exit(1);
    }
}

static void feed(size_t sequence, size_t from, size_t to, const char *what) {
    must(graver_feed(model, sequence, text + from, to - from, GRAVER_LAST), "graver_feed");
    same(to, what);
}

int main(void) {
    graver_options options = {0};
    options.sequences = 4;
    model = graver_open(&options);
    must(!model, "graver_open");
    for (int i = 0; i < MOST; i++) text[i] = (uint32_t)(3 + (i * 37 + i * i * 11) % 60);

    feed(0, 0, 20, "grown");
    for (size_t n = 21; n <= 40; n++) feed(0, n - 1, n, "grown");
    must(graver_truncate(model, 0, 20), "graver_truncate");
    feed(0, 20, 22, "cut");
    must(graver_copy(model, 0, 2), "graver_copy");
    feed(2, 22, 35, "copied");
    feed(0, 22, BORDER, "its original");

    must(graver_reset(model, 3), "graver_reset");
    must(graver_feed(model, 3, text, 10, GRAVER_NONE), "graver_feed");
    graver_segment both[2] = {{3, text + 10, 1}, {0, text + BORDER, 1}};
    must(graver_step(model, both, 2, GRAVER_LAST), "graver_step");
    same(BORDER + 1, "in company");

    /* Said in advance, short texts have the logits of long ones, so that those of all rows agree with the text at once. */
    must(graver_reset(model, 2), "graver_reset");
    must(graver_expect(model, 2, MOST), "graver_expect");
    must(graver_feed(model, 2, text, 10, GRAVER_LAST), "graver_feed");
    float early = graver_logits(model, 0)[0];
    must(graver_reset(model, 1), "graver_reset");
    must(graver_feed(model, 1, text, MOST, GRAVER_ALL), "graver_feed");
    must(!(fabsf(early - graver_logits(model, 9)[0]) < 1e-4f), "a length that was announced");
    must(!graver_expect(model, 4, 1), "a sequence that does not exist");
    graver_close(model);
    printf("done\n");
    return 0;
}
