/* Runs what it wrote into a mapping that is readable and writable. */
#include "attack.h"

int main(int count, char **words) {
    attack_name = count > 1 ? words[1] : "?";
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        refused();
    else {
        memcpy(at, attack_code, sizeof attack_code);
        attack_run(at);
    }
    return 0;
}
