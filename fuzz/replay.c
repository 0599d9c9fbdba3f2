/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of its corpus, once: for compilers without libFuzzer. usage: fuzz_NAME FOLDER */
#include "base/file.h"
#include "base/mem.h"
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s FOLDER: a folder with inputs\n", argv[0]);
        return 2;
    }
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[4096], *data;
        size_t len;
        rkf_error err;
        if (e->d_name[0] == '.' || !path_join(path, sizeof path, argv[1], e->d_name))
            continue;
        if (file_read(path, (size_t)1 << 30, &data, &len, &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        uint8_t *exact = mem_alloc(len); /* without the NUL, so that a read past the end is one past the block */
        if (!exact)
            return 1;
        memcpy(exact, data, len);
        LLVMFuzzerTestOneInput(exact, len);
        mem_free(exact);
        mem_free(data);
        n++;
    }
    closedir(dir);
    printf("%d inputs\n", n);
    return n ? 0 : 1;
}
