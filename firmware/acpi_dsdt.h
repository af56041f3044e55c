/*
 * The content of the DSDT; acpi.c puts the table header in front.
 */
#ifndef FIRMWARE_ACPI_DSDT_H
#define FIRMWARE_ACPI_DSDT_H

#include "firmware/acpi.h"
#include "firmware/aml.h"

/* Append the definition block's terms to `aml`; errors stick there. */
void acpi_dsdt_write(struct aml *aml, const struct acpi_config *config);

#endif
