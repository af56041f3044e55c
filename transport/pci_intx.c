#include "transport/pci_intx.h"

#include "base/bytes.h"

void pci_intx_lines_init(struct pci_intx_lines *lines, struct platform *platform, uint32_t gsi_base,
                         uint32_t gsi_count)
{
    memset(lines, 0, sizeof(*lines));
    lines->platform = platform;
    lines->gsi_base = gsi_base;
    lines->gsi_count = gsi_count;
    pthread_mutex_init(&lines->lock, NULL);
}

void pci_intx_lines_destroy(struct pci_intx_lines *lines)
{
    pthread_mutex_destroy(&lines->lock);
}

void pci_intx_attach(struct pci_intx_pin *self, struct pci_intx_lines *lines, unsigned slot,
                     unsigned pin)
{
    *self = (struct pci_intx_pin){
        .lines = lines, .slot = slot, .line = (slot + pin) % lines->gsi_count};
}

uint32_t pci_intx_gsi(const struct pci_intx_pin *self)
{
    return self->lines->gsi_base + self->line;
}

/* Under the lock: make the line the OR of all pins on it. */
static void pci_intx_update(struct pci_intx_pin *self)
{
    struct pci_intx_lines *lines = self->lines;
    uint32_t before = lines->asserted[self->line];
    uint32_t bit = (uint32_t)BIT(self->slot);
    uint32_t after = self->pending && !self->disabled ? before | bit : before & ~bit;

    lines->asserted[self->line] = after;
    if (!before != !after)
        lines->platform->ops->line_set(lines->platform, pci_intx_gsi(self), after != 0);
}

void pci_intx_set_pending(struct pci_intx_pin *self, bool pending)
{
    pthread_mutex_lock(&self->lines->lock);
    self->pending = pending;
    pci_intx_update(self);
    pthread_mutex_unlock(&self->lines->lock);
}

void pci_intx_set_disabled(struct pci_intx_pin *self, bool disabled)
{
    pthread_mutex_lock(&self->lines->lock);
    self->disabled = disabled;
    pci_intx_update(self);
    pthread_mutex_unlock(&self->lines->lock);
}

bool pci_intx_pending(struct pci_intx_pin *self)
{
    bool pending;

    pthread_mutex_lock(&self->lines->lock);
    pending = self->pending;
    pthread_mutex_unlock(&self->lines->lock);
    return pending;
}
