/* SPDX-License-Identifier: Apache-2.0 */
#define VARIANT_TRIE
#define LOOKUP "variants.h"
#include "shortcut.c"
