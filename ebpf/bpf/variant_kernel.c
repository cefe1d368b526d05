/* SPDX-License-Identifier: Apache-2.0 */
#define VARIANT_KERNEL
#define LOOKUP "variants.h"
#include "shortcut.c"
