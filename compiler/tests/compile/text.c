/* Text through the C interface: prompt to ids and back, texts that go on, and what happens to those who do not keep to it. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, graver_error());      \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

/* What was heard, up to a limit of calls. */
typedef struct heard {
    char text[4096];
    size_t length;
    uint32_t tokens[512];
    size_t n_tokens;
    size_t calls;
    size_t most_calls;
} heard;

static int hear(void *data, uint32_t token, const char *text, size_t n_bytes) {
    heard *all = data;
    CHECK(all->length + n_bytes < sizeof all->text);
    memcpy(all->text + all->length, text, n_bytes);
    all->length += n_bytes;
    all->text[all->length] = 0;
    if (token != GRAVER_NO_TOKEN) all->tokens[all->n_tokens++] = token;
    return ++all->calls == all->most_calls;
}

static void misuse(graver *model) {
    uint32_t tokens[4] = {1, 2, 3, 4};
    heard all = {0};
    graver_sampling sampling = {0};
    CHECK(graver_tokenize(NULL, "a", tokens, 4) == GRAVER_FAILED);
    CHECK(graver_tokenize(model, NULL, tokens, 4) == GRAVER_FAILED);
    CHECK(strstr(graver_error(), "graver_tokenize: text is NULL"));
    CHECK(graver_tokenize(model, "\xff", tokens, 4) == GRAVER_FAILED);
    CHECK(strstr(graver_error(), "the text is not UTF-8"));
    CHECK(graver_tokenize(model, "a", NULL, 4) == GRAVER_FAILED);
    CHECK(graver_detokenize(model, NULL, 1, NULL, 0) == GRAVER_FAILED);
    CHECK(graver_generate(model, 0, tokens, 0, NULL, hear, &all) == -1);
    CHECK(graver_generate(model, 0, tokens, 1, NULL, NULL, &all) == -1);
    CHECK(strstr(graver_error(), "graver_generate: callback is NULL"));
    CHECK(graver_generate(model, 7, tokens, 1, NULL, hear, &all) == -1);
    sampling.size = 3;
    CHECK(graver_generate(model, 0, tokens, 1, &sampling, hear, &all) == -1);
    CHECK(strstr(graver_error(), "sampling.size is 3"));
    sampling.size = sizeof sampling;
    sampling.temperature = -1;
    CHECK(graver_generate(model, 0, tokens, 1, &sampling, hear, &all) == -1);
    CHECK(strstr(graver_error(), "temperature"));
    CHECK(all.calls == 0);
    CHECK(graver_position(model, 0) == 0);
}

int main(int count, char **words) {
    const char *prompt = count > 1 ? words[1] : "In the beginning";
    graver *model = graver_open(NULL);
    CHECK(model);
    misuse(model);

    /* As many as there is room for, and how many there are. */
    uint32_t tokens[64];
    size_t n = graver_tokenize(model, prompt, NULL, 0);
    CHECK(n != GRAVER_FAILED && n > 1 && n < 64);
    CHECK(graver_tokenize(model, prompt, tokens, 1) == n);
    CHECK(graver_tokenize(model, prompt, tokens, 64) == n);

    char text[256];
    size_t length = graver_detokenize(model, tokens, n, NULL, 0);
    CHECK(length == strlen(prompt));
    CHECK(graver_detokenize(model, tokens, n, text, sizeof text) == length && !strcmp(text, prompt));
    CHECK(graver_detokenize(model, tokens, n, text, 4) == length && !strncmp(text, prompt, 3) && !text[3]);

    /* Greedily, as much as was asked for. */
    graver_sampling sampling = {0};
    sampling.size = sizeof sampling;
    sampling.max_tokens = 24;
    heard all = {0};
    CHECK(!graver_generate(model, 0, tokens, n, &sampling, hear, &all));
    CHECK(all.n_tokens == 24 && graver_rows(model) == 0);
    CHECK(graver_position(model, 0) == n + 23);
    printf("%s", all.text);

    /* Stopped by the callback. */
    heard some = {0};
    some.most_calls = 5;
    CHECK(!graver_reset(model, 0));
    CHECK(!graver_generate(model, 0, tokens, n, &sampling, hear, &some));
    CHECK(some.calls == 5 && !memcmp(some.tokens, all.tokens, 5 * sizeof(uint32_t)));

    /* The same seed, the same text. */
    heard drawn[2] = {{{0}, 0, {0}, 0, 0, 0}, {{0}, 0, {0}, 0, 0, 0}};
    sampling.temperature = 0.8f;
    sampling.top_k = 40;
    sampling.top_p = 0.95f;
    sampling.seed = 7;
    for (int i = 0; i < 2; i++) {
        CHECK(!graver_reset(model, 0));
        CHECK(!graver_generate(model, 0, tokens, n, &sampling, hear, &drawn[i]));
    }
    CHECK(drawn[0].length > 0 && !strcmp(drawn[0].text, drawn[1].text));
    graver_close(model);
    return 0;
}
