/* The numbers of feature bits (specification 2.2, 6 and each device's 5.x.3), over all devices. */
#include "base/bytes.h"
#include "virtio/features.h"
#include "vmm/machine_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Written down a second time, from the specification. */
static const struct {
    const char *name;
    unsigned bit;
} of_all_devices[] = {
    {"notify_on_empty", 24},   {"any_layout", 27},        {"indirect_desc", 28},
    {"event_idx", 29},         {"version_1", 32},         {"access_platform", 33},
    {"ring_packed", 34},       {"in_order", 35},          {"order_platform", 36},
    {"notification_data", 38}, {"notif_config_data", 39}, {"ring_reset", 40},
    {"suspend", 43},
};

static bool known(const struct virtio_feature_name *feature)
{
    for (size_t i = 0; i < ARRAY_SIZE(of_all_devices); i++)
        if (strcmp(of_all_devices[i].name, feature->name) == 0)
            return of_all_devices[i].bit == feature->bit;
    return false;
}

/* FEAT-02; FEAT-07, FEAT-12, DRV-INIT-10: none that is reserved, no SR_IOV, no ADMIN_VQ */
static void test_bits_of_all_devices(void **state)
{
    (void)state;
    assert_true(virtio_feature_names_count > 0);
    for (size_t i = 0; i < virtio_feature_names_count; i++)
        if (!known(&virtio_feature_names[i]))
            fail_msg("%s is not bit %u", virtio_feature_names[i].name, virtio_feature_names[i].bit);
}

static bool belongs_to_types(unsigned bit)
{
    return bit <= 23 || bit == 41 || bit == 42 || (bit >= 50 && bit <= 127);
}

/* No other feature of the model has the name or the number of this one. */
static bool alone(const struct virtio_model *model, size_t which)
{
    const struct virtio_feature_name *feature = &model->features[which];

    for (size_t i = 0; i < which; i++)
        if (model->features[i].bit == feature->bit ||
            strcmp(model->features[i].name, feature->name) == 0)
            return false;
    return true;
}

/* FEAT-01, FEAT-07 */
static void test_bits_of_types(void **state)
{
    (void)state;
    assert_non_null(device_models[0]);
    for (size_t m = 0; device_models[m]; m++) {
        const struct virtio_model *model = device_models[m];

        for (size_t i = 0; i < model->feature_count; i++)
            if (!belongs_to_types(model->features[i].bit) || !alone(model, i))
                fail_msg("%s: %s cannot be bit %u", model->name, model->features[i].name,
                         model->features[i].bit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_of_all_devices),
        cmocka_unit_test(test_bits_of_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
