// The operation project by the operations that it is made of, on any backend.
#pragma once

#include "kernels/backend.h"

namespace retain {

void project_in_parts(Backend& backend, const ProjectArgs& args);

}  // namespace retain
