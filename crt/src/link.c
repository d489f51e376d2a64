/* docs/link.md describes the frames and the requests. */
#include "crt/link.h"

#include <string.h>

enum {
    HEADER_SIZE = 8,
    CRC_SIZE = 4,
    DIGEST_SIZE = 32,
    WRITE_HEAD = 6,     /* input u16, offset u32 */
    ANSWER = 0x80,      /* is set in the type of an answer */
};

enum request { HELLO = 1, RESET, WRITE, RUN, STEP, READ };

enum status { OK, BAD_REQUEST, BAD_RANGE, BAD_ORDER, NO_SESSION };

/* What READ can name. */
enum kind { INPUT, OUTPUT, STEP_OUTPUT };

struct span {
    const uint8_t *at;
    uint32_t size;
};

/* ---- Little-endian numbers ---- */

static uint32_t get(const uint8_t *from, unsigned bytes)
{
    uint32_t value = 0;
    while (bytes-- > 0) {
        value = value << 8 | from[bytes];
    }
    return value;
}

/* Writes `bytes` bytes of `value` and returns where the next number goes. */
static uint8_t *put(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
    return to + bytes;
}

/* ---- CRC-32 (polynomial 0xedb88320 reflected, as in zlib), four bits at a time: a table of
 * 64 bytes instead of 1 KiB ---- */

static uint32_t crc_add(uint32_t crc, const uint8_t *bytes, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static uint32_t tensors_crc(const struct crt_tensor *tensors, uint16_t n)
{
    uint32_t crc = 0;
    for (uint16_t i = 0; i < n; i++) {
        crc = crc_add(crc, tensors[i].data, tensors[i].size);
    }
    return crc;
}

/* ---- COBS in place: a frame is shorter than 254 bytes, so it is one code byte longer than
 * what it holds, and each zero byte is the place of the next code ---- */

static bool cobs_decode(uint8_t *bytes, size_t size)
{
    size_t at = bytes[0];
    while (at < size) {
        uint8_t code = bytes[at];
        bytes[at] = 0;
        at += code;
    }
    return at == size;
}

static void cobs_encode(uint8_t *bytes, size_t size)
{
    size_t code = 0;
    for (size_t i = 1; i < size; i++) {
        if (bytes[i] == 0) {
            bytes[code] = (uint8_t)(i - code);
            code = i;
        }
    }
    bytes[code] = (uint8_t)(size - code);
}

/* ---- Requests: each reads its body of *size bytes, then writes the answer's body over it and
 * its size to *size. All numbers are checked before they are used, as the host may be any
 * program. ---- */

static size_t name_length(const char *name)
{
    size_t length = 0;
    while (length < CRT_LINK_NAME_MAX && name[length] != '\0') {
        length++;
    }
    return length;
}

static uint8_t *put_name(uint8_t *to, const char *name)
{
    size_t length = name_length(name);
    *to = (uint8_t)length;
    memcpy(to + 1, name, length);
    return to + 1 + length;
}

static uint8_t hex_value(char digit)
{
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* From "sha256:" and 64 hex digits in lower case. */
static uint8_t *put_digest(uint8_t *to, const char *digest)
{
    const char *hex = digest + 7;
    for (unsigned i = 0; i < DIGEST_SIZE; i++) {
        to[i] = (uint8_t)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
    }
    return to + DIGEST_SIZE;
}

static enum status hello(struct crt_link *link, uint32_t nonce, uint8_t *body, size_t *size)
{
    if (*size != 0 || nonce == 0) {
        return BAD_REQUEST;
    }
    link->nonce = nonce;
    memset(&link->last, 0, sizeof link->last);
    uint8_t *to = put(body, CRT_LINK_VERSION, 2);
    to = put(to, CRT_LINK_BODY_MAX, 2);
    to = put(to, link->model->n_inputs, 2);
    to = put(to, link->model->n_outputs, 2);
    to = put(to, link->model->n_steps, 2);
    memcpy(to, link->port->build_id, CRT_LINK_BUILD_ID_SIZE);
    to = put_digest(to + CRT_LINK_BUILD_ID_SIZE, link->model->digest);
    to = put_name(to, link->port->board);
    to = put_name(to, link->model->name);
    *size = (size_t)(to - body);
    return OK;
}

static enum status reset(struct crt_link *link, size_t *size)
{
    if (*size != 0) {
        return BAD_REQUEST;
    }
    link->last.type = 0;
    link->model->init();
    return OK;
}

static bool in_range(uint32_t offset, size_t length, uint32_t size)
{
    return offset <= size && length <= size - offset;
}

static enum status write_input(struct crt_link *link, const uint8_t *body, size_t *size)
{
    if (*size < WRITE_HEAD) {
        return BAD_REQUEST;
    }
    uint32_t index = get(body, 2), offset = get(body + 2, 4);
    size_t length = *size - WRITE_HEAD;
    if (index >= link->model->n_inputs || !in_range(offset, length, link->model->inputs[index].size)) {
        return BAD_RANGE;
    }
    memcpy((uint8_t *)link->model->inputs[index].data + offset, body + WRITE_HEAD, length);
    *size = 0;
    return OK;
}

static size_t put_result(const struct crt_link *link, uint8_t *body)
{
    uint8_t *to = put(body, link->last.ticks, 8);
    to = put(to, link->last.inputs_crc, 4);
    to = put(to, link->last.outputs_crc, 4);
    to = put(to, link->port->stack_used(), 4);
    return (size_t)(to - body);
}

static enum status run(struct crt_link *link, uint8_t *body, size_t *size)
{
    if (*size != 4) {
        return BAD_REQUEST;
    }
    const struct crt_model *model = link->model;
    struct crt_link_result *last = &link->last;
    uint32_t number = get(body, 4);
    if (last->type != RUN || number != last->run) {
        if (number != last->run + 1) {
            return BAD_ORDER;
        }
        uint32_t crc = tensors_crc(model->inputs, model->n_inputs);
        uint64_t start = link->port->ticks();
        model->run();
        *last = (struct crt_link_result){.ticks = link->port->ticks() - start, .run = number, .inputs_crc = crc,
                                         .type = RUN};
        last->outputs_crc = tensors_crc(model->outputs, model->n_outputs);
    }
    *size = put_result(link, body);
    return OK;
}

static bool is_next_step(const struct crt_link_result *last, uint32_t number, uint32_t index)
{
    if (index == 0) {
        return number == last->run + 1;
    }
    return last->type == STEP && number == last->run && index == last->step + 1u;
}

static void do_step(struct crt_link *link, uint32_t number, uint16_t index)
{
    const struct crt_model *model = link->model;
    struct crt_link_result *last = &link->last;
    uint32_t crc = index == 0 ? tensors_crc(model->inputs, model->n_inputs) : last->inputs_crc;
    uint64_t start = link->port->ticks();
    model->step(index);
    *last = (struct crt_link_result){.ticks = link->port->ticks() - start, .run = number, .inputs_crc = crc,
                                     .step = index, .type = STEP};
    last->outputs_crc = crc_add(0, model->steps[index].output, model->steps[index].size);
}

static enum status step(struct crt_link *link, uint8_t *body, size_t *size)
{
    if (*size != 6) {
        return BAD_REQUEST;
    }
    const struct crt_link_result *last = &link->last;
    uint32_t number = get(body, 4), index = get(body + 4, 2);
    if (index >= link->model->n_steps) {
        return BAD_RANGE;
    }
    if (last->type != STEP || number != last->run || index != last->step) {
        if (!is_next_step(last, number, index)) {
            return BAD_ORDER;
        }
        do_step(link, number, (uint16_t)index);
    }
    *size = put_result(link, body);
    return OK;
}

/* An empty span where there is no such tensor. */
static struct span find(const struct crt_model *model, uint32_t kind, uint32_t index)
{
    if (kind == INPUT && index < model->n_inputs) {
        return (struct span){model->inputs[index].data, model->inputs[index].size};
    }
    if (kind == OUTPUT && index < model->n_outputs) {
        return (struct span){model->outputs[index].data, model->outputs[index].size};
    }
    if (kind == STEP_OUTPUT && index < model->n_steps) {
        return (struct span){model->steps[index].output, model->steps[index].size};
    }
    return (struct span){NULL, 0};
}

static enum status read(const struct crt_link *link, uint8_t *body, size_t *size)
{
    if (*size != 9) {
        return BAD_REQUEST;
    }
    struct span span = find(link->model, body[0], get(body + 1, 2));
    uint32_t offset = get(body + 3, 4), length = get(body + 7, 2);
    if (span.at == NULL || length > CRT_LINK_BODY_MAX || !in_range(offset, length, span.size)) {
        return BAD_RANGE;
    }
    memcpy(body, span.at + offset, length);
    *size = length;
    return OK;
}

static enum status handle(struct crt_link *link, uint8_t type, uint32_t nonce, uint8_t *body, size_t *size)
{
    if (type == HELLO) {
        return hello(link, nonce, body, size);
    }
    if (nonce == 0 || nonce != link->nonce) {
        return NO_SESSION;
    }
    switch (type) {
    case RESET: return reset(link, size);
    case WRITE: return write_input(link, body, size);
    case RUN: return run(link, body, size);
    case STEP: return step(link, body, size);
    case READ: return read(link, body, size);
    default: return BAD_REQUEST;
    }
}

/* ---- Frames ---- */

/* The size of the request's body in the buffer, decoded; -1 where it holds no valid request. */
static int open_request(struct crt_link *link)
{
    uint8_t *frame = link->buffer + 1;
    const size_t least = 1 + HEADER_SIZE + CRC_SIZE;
    if (link->length < least || link->length > CRT_LINK_FRAME_MAX || !cobs_decode(frame, link->length)) {
        return -1;
    }
    size_t size = link->length - least;
    const uint8_t *message = frame + 1;
    if (get(message + HEADER_SIZE + size, CRC_SIZE) != crc_add(0, message, HEADER_SIZE + size)) {
        return -1;
    }
    return (message[0] & ANSWER) == 0 ? (int)size : -1;
}

/* Sends the buffer, whose header and body of `size` bytes are set. */
static void send(struct crt_link *link, size_t size)
{
    uint8_t *message = link->buffer + 2;
    size_t length = HEADER_SIZE + size;
    put(message + length, crc_add(0, message, length), CRC_SIZE);
    length += 1 + CRC_SIZE;
    cobs_encode(link->buffer + 1, length);
    link->buffer[0] = 0;
    link->buffer[1 + length] = 0;
    link->port->write(link->buffer, length + 2);
}

static void answer(struct crt_link *link, size_t size)
{
    uint8_t *message = link->buffer + 2;
    enum status status = handle(link, message[0], get(message + 4, 4), message + HEADER_SIZE, &size);
    message[0] |= ANSWER;
    message[1] = (uint8_t)status;
    send(link, status == OK ? size : 0);
}

void crt_link_init(struct crt_link *link, const struct crt_model *model, const struct crt_link_port *port)
{
    memset(link, 0, sizeof *link);
    link->model = model;
    link->port = port;
}

void crt_link_receive(struct crt_link *link, uint8_t byte)
{
    if (byte != 0) {
        if (link->length < CRT_LINK_FRAME_MAX) {
            link->buffer[1 + link->length] = byte;
        }
        link->length = (uint16_t)(link->length + (link->length <= CRT_LINK_FRAME_MAX));
        return;
    }
    int size = open_request(link);
    if (size >= 0) {
        answer(link, (size_t)size);
    }
    link->length = 0;
}
