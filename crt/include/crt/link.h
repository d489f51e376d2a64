/* The device side of the device link: a host sends inputs, starts inferences and reads results
 * over one UART. The other side is generator/tinykiln/link.py; docs/link.md is the protocol.
 *
 * The link keeps its state in the caller's struct crt_link and runs in one context: whoever
 * receives bytes hands them to crt_link_receive, which answers complete requests before it
 * returns (for RUN that takes as long as the inference). Bytes that are no frame are ignored,
 * so text may share the port. Firmware may print text without zero bytes between two calls of
 * crt_link_receive.
 */
#ifndef CRT_LINK_H
#define CRT_LINK_H

#include "crt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CRT_LINK_VERSION 1u      /* of the protocol */
#define CRT_LINK_BODY_MAX 240u   /* bytes of one frame's body: the largest chunk */
#define CRT_LINK_BUILD_ID_SIZE 20u
#define CRT_LINK_NAME_MAX 80u    /* names of board and model are cut to this many bytes */
#define CRT_LINK_FRAME_MAX (1u + 8u + CRT_LINK_BODY_MAX + 4u)   /* COBS code, header, body, CRC */

/* What the board lends to the link. */
struct crt_link_port {
    void (*write)(const uint8_t *bytes, size_t size);   /* sends all, may wait for the UART */
    uint64_t (*ticks)(void);                            /* free-running counter, never goes back */
    uint32_t (*stack_used)(void);                       /* high-water mark since reset, bytes */
    const char *board;                                  /* name in boards.yaml */
    const uint8_t *build_id;                            /* [CRT_LINK_BUILD_ID_SIZE], the linker's */
};

/* The last RUN or STEP and its result, which is sent again when the request comes again. */
struct crt_link_result {
    uint64_t ticks;
    uint32_t run;               /* its number */
    uint32_t inputs_crc, outputs_crc;
    uint16_t step;
    uint8_t type;               /* of the request; 0: none since HELLO or RESET */
};

/* Private to link.c; here so that the caller can own it. */
struct crt_link {
    const struct crt_model *model;
    const struct crt_link_port *port;
    struct crt_link_result last;
    uint32_t nonce;             /* of the host's session; 0: none since start-up */
    uint16_t length;            /* bytes since the last zero byte, at most one more than fit */
    uint8_t buffer[1u + CRT_LINK_FRAME_MAX + 1u];   /* one frame between its zero bytes: request, then answer */
};

/* Once, before the first byte. `model` must have been initialised; `model` and `port` stay
 * valid and unchanged as long as the link is used. */
void crt_link_init(struct crt_link *link, const struct crt_model *model, const struct crt_link_port *port);

/* One received byte. */
void crt_link_receive(struct crt_link *link, uint8_t byte);

#ifdef __cplusplus
}
#endif

#endif
