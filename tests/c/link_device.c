/* A device for tests of the link: crt/src/link.c on stdin and stdout, with the model of
 * tiny_model.h. Arguments are name=value:
 *
 *   size, digest, board, build    of the model, its digest, the board's name, the build id (20 characters)
 *   crash, restart, slow          the number of the run that ends in a fault report, a reset of the device,
 *                                 or takes a second longer; counted over the device's life, from 1
 *   flood                         1: sends bytes without end and listens to nothing
 *   stay                          1: does not end with its input
 *   text                          1: prints a line before each run
 *   clobber                       1: each run is followed by a stray write into an output
 *   faults, seed                  damage per million bytes in each direction: a byte is dropped, doubled or
 *                                 flipped, or the rest of the piece is cut off
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crt/link.h"
#include "tiny_model.h"

static unsigned long size = 600, crash, restart, slow, flood, stay, text, clobber, faults, seed = 1;
static const char *digest, *board = "test_board", *build = "build-id-of-the-test";
static struct crt_link link_;
static struct crt_model model;
static struct crt_link_port port;
static unsigned long n_runs;
static bool restarting;

static unsigned long chance(unsigned long of)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % of;
}

static void send_raw(const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        const ssize_t done = write(STDOUT_FILENO, at, n);
        if (done <= 0) {
            exit(0);
        }
        at += done;
        n -= (size_t)done;
    }
}

/* Copies n bytes with damage into `to`, which has room for 2 * n; how many came out. */
static size_t damage(const uint8_t *from, size_t n, uint8_t *to)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        to[out++] = from[i];
        if (faults == 0 || chance(1000000) >= faults) {
            continue;
        }
        switch (chance(4)) {
        case 0: out--; break;
        case 1: to[out++] = from[i]; break;
        case 2: to[out - 1] = (uint8_t)(from[i] ^ 1u << chance(8)); break;
        default: return out;
        }
    }
    return out;
}

static void link_write(const uint8_t *bytes, size_t n)
{
    uint8_t damaged[1024];
    if (!restarting) {
        send_raw(damaged, damage(bytes, n, damaged));
    }
}

static void before_run(void)
{
    static const char part[] = "\0\x05\x84half a fr";
    static const char fault[] = "fault: pc 0x00001234 lr 0x00005679 cfsr 0x00000082 hfsr 0x40000000\r\n";
    n_runs++;
    if (text) {
        send_raw("about to run\n", 13);
    }
    if (n_runs == slow) {
        sleep(1);
    }
    if (n_runs == crash) {
        send_raw(part, sizeof part - 1);
        send_raw(fault, sizeof fault - 1);
        for (;;) {
            pause();
        }
    }
    restarting = n_runs == restart;
}

static void run(void)
{
    before_run();
    tiny_model.run();
}

static void step(unsigned index)
{
    if (index == 0) {
        before_run();
    }
    tiny_model.step(index);
}

static uint64_t ticks(void)
{
    return tiny_ticks;
}

/* The link asks last of all, when the sums over the outputs are made. */
static uint32_t stack_used(void)
{
    if (clobber) {
        ((uint8_t *)model.outputs[0].data)[3] ^= 1u;
    }
    return 321;
}

static bool set(const char *argument)
{
    static const struct {
        const char *name;
        unsigned long *number;
        const char **string;
    } options[] = {
        {"size", &size, NULL}, {"crash", &crash, NULL}, {"restart", &restart, NULL}, {"slow", &slow, NULL},
        {"flood", &flood, NULL}, {"stay", &stay, NULL},
        {"text", &text, NULL}, {"clobber", &clobber, NULL}, {"faults", &faults, NULL},
        {"seed", &seed, NULL}, {"digest", NULL, &digest}, {"board", NULL, &board}, {"build", NULL, &build},
    };
    const size_t length = strcspn(argument, "=");
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strlen(options[i].name) == length && strncmp(options[i].name, argument, length) == 0) {
            if (options[i].string) {
                *options[i].string = argument + length + 1;
            } else {
                *options[i].number = strtoul(argument + length + 1, NULL, 10);
            }
            return true;
        }
    }
    return false;
}

static void start(void)
{
    tiny_model_setup((uint32_t)size, digest);
    model = tiny_model;
    model.run = run;
    model.step = step;
    port = (struct crt_link_port){link_write, ticks, stack_used, board, (const uint8_t *)build};
    crt_link_init(&link_, &model, &port);
}

static void serve(void)
{
    uint8_t bytes[256], damaged[512];
    ssize_t n;
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0) {
        const size_t left = damage(bytes, (size_t)n, damaged);
        for (size_t i = 0; i < left; i++) {
            crt_link_receive(&link_, damaged[i]);
            if (restarting) {
                restarting = false;
                start();
                send_raw("boot\n", 5);
            }
        }
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!set(argv[i])) {
            fprintf(stderr, "unknown option: %s\n", argv[i]);
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);   /* a host that closes its port ends the program in send_raw */
    while (flood) {
        send_raw("\xff\x13\x00\x42", 4);
    }
    start();
    serve();
    while (stay) {
        pause();
    }
    return 0;
}
