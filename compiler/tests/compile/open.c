/* open FILE [FROM TO [WEIGHTS]]: maps FILE, moves the file FROM to TO, and opens the model, with weights from WEIGHTS. */
#include "model.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    graver_options options = {0};
    int file = argc > 1 ? open(argv[1], O_RDONLY) : -1;
    if (file < 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED) {
        perror("cannot map the file");
        return 2;
    }
    if (argc > 3 && rename(argv[2], argv[3])) {
        perror("cannot move the file");
        return 2;
    }
    if (argc > 4) options.weights = argv[4];
    graver *model = graver_open(&options);
    if (!model) {
        fprintf(stderr, "%s\n", graver_error());
        return 1;
    }
    graver_close(model);
    puts("opened");
    return 0;
}
