/* Throws requests at crt_link_receive. The input is a list of pieces: a byte of kind, a byte of
 * length, then so many bytes, which go to the device as they are (kind 0) or as the message of
 * a frame with a correct CRC, with the session's nonce (kind 1) or with their own (kind 2).
 *
 * fuzz_link ROUNDS SEED makes so many random inputs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crt/link.h"
#include "tiny_model.h"

#define NONCE 0x01020304u

static struct crt_link link_;
static size_t n_answers, n_ok;

/* Every answer is one whole frame: zero, no zero inside, zero. */
static void take(const uint8_t *bytes, size_t n)
{
    const size_t last = n - 1;
    if (n < 15 || n > 2 + CRT_LINK_FRAME_MAX || bytes[0] != 0 || bytes[last] != 0 || memchr(bytes + 1, 0, last - 1)) {
        abort();
    }
    n_answers++;
    n_ok += bytes[1] == 2;   /* the next zero byte is the status */
}

static uint64_t ticks(void)
{
    return tiny_ticks;
}

static uint32_t stack_used(void)
{
    return 0;
}

static uint32_t crc32(const uint8_t *bytes, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < 8 * n; i++) {
        crc = (crc ^ (uint32_t)(bytes[i / 8] >> i % 8 & 1)) & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

static void receive(const uint8_t *bytes, size_t n)
{
    /* A copy of just this size on the heap, so that the address sanitiser sees each byte too far. */
    uint8_t *copy = malloc(n + 1);
    memcpy(copy, bytes, n);
    for (size_t i = 0; i < n; i++) {
        crt_link_receive(&link_, copy[i]);
    }
    free(copy);
}

static void receive_frame(const uint8_t *message, size_t n, uint32_t nonce)
{
    uint8_t frame[1 + 1 + 255 + 4 + 1] = {0}, *raw = frame + 2;
    memcpy(raw, message, n);
    for (unsigned i = 0; nonce != 0 && i < 4 && 4 + i < n; i++) {
        raw[4 + i] = (uint8_t)(nonce >> 8 * i);
    }
    const uint32_t crc = crc32(raw, n);
    for (unsigned i = 0; i < 4; i++) {
        raw[n + i] = (uint8_t)(crc >> 8 * i);
    }
    size_t code = 1;
    for (size_t i = 2; i <= n + 6; i++) {
        if (i == n + 6 || frame[i] == 0) {
            frame[code] = (uint8_t)(i - code);
            code = i;
        }
    }
    frame[n + 6] = 0;
    receive(frame, n + 7);
}

/* One session, which takes one input. */
static void session(const uint8_t *data, size_t size)
{
    static const uint8_t build_id[CRT_LINK_BUILD_ID_SIZE];
    static const uint8_t hello[8] = {1};
    static const struct crt_link_port port = {take, ticks, stack_used, "board", build_id};
    tiny_model_setup(300, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    crt_link_init(&link_, &tiny_model, &port);
    receive_frame(hello, sizeof hello, NONCE);
    while (size >= 2) {
        const size_t n = data[1] < size - 2 ? data[1] : size - 2;
        if (data[0] % 3 == 0) {
            receive(data + 2, n);
        } else if (n < 249) {
            receive_frame(data + 2, n, data[0] % 3 == 1 ? NONCE : 0);
        }
        data += 2 + n;
        size -= 2 + n;
    }
}

/* Small numbers and the edges of ranges more often than others. */
static uint8_t byte(void)
{
    const int r = rand() >> 4;
    return (uint8_t)(r % 3 == 0 ? r >> 8 : r % 3 == 1 ? (r >> 8) % 8 : 0);
}

static size_t piece(uint8_t *to)
{
    static const uint8_t sizes[] = {0, 4, 6, 6, 9, 9, 14};
    to[0] = (uint8_t)(rand() % 8 == 0 ? rand() : 1);
    to[1] = (uint8_t)(rand() % 8 == 0 ? rand() : 8 + sizes[rand() % 7]);
    for (unsigned i = 0; i < to[1]; i++) {
        to[2 + i] = byte();
    }
    to[2] = (uint8_t)(rand() % 8 == 0 ? rand() : 1 + rand() % 7);
    return 2u + to[1];
}

int main(int argc, char **argv)
{
    const long rounds = argc > 1 ? atol(argv[1]) : 1;
    srand(argc > 2 ? (unsigned)atol(argv[2]) : 1);
    for (long i = 0; i < rounds; i++) {
        uint8_t input[16 * 257];
        size_t size = 0;
        while (size < 15 * 257) {
            size += piece(input + size);
        }
        session(input, size);
    }
    printf("%zu answers, %zu of them OK\n", n_answers, n_ok);
    return 0;
}
