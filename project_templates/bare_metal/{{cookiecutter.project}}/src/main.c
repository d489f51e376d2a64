/* Your firmware. TinyKiln wrote this file once and does not change it again.
 *
 * As it stands it serves the device link: a host sends inputs over the UART, starts inferences
 * and reads the results. In your product, fill the inputs yourself and call
 * {{ cookiecutter.model.name }}_run(); see model/{{ cookiecutter.model.name }}.h.
 */
#include "board.h"
#include "crt/link.h"
#include "{{ cookiecutter.model.name }}.h"

static struct crt_link host;

int main(void)
{
    board_init();
    {{ cookiecutter.model.name }}_init();
    /* Set up your own devices here. */

    crt_link_init(&host, &{{ cookiecutter.model.name }}_model, &board_link_port);
    for (;;) {
        crt_link_receive(&host, board_read());
    }
}
