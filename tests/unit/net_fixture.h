/*
 * For the tests of a network card: one card, and the feature bits its driver will take.
 */
#ifndef TESTS_UNIT_NET_FIXTURE_H
#define TESTS_UNIT_NET_FIXTURE_H

#include "tests/driver/net_card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct net_card card;
static unsigned char bits[32];
static unsigned bit_count;

/* At the start of a set-up function: what is to be in the card's options comes behind it. */
static inline void card_clear(void)
{
    card = (struct net_card){0};
    bit_count = 0;
}

static inline int teardown(void **state)
{
    (void)state;
    net_card_destroy(&card);
    return 0;
}

static inline void want(unsigned char bit)
{
    bits[bit_count++] = bit;
}

static inline void start(void)
{
    net_card_start(&card, bits, bit_count);
}

#endif
