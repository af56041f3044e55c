#include "devices/gpu/vhost_user/source.h"
#include "devices/gpu/vhost_user/viewer.h"

extern const struct gpu_vhost_user_module vireo_module_vhost_user_gpu;
const struct gpu_vhost_user_module vireo_module_vhost_user_gpu = {
    .source_create = gpu_source_create,
    .viewer_attach = gpu_viewer_attach,
};
