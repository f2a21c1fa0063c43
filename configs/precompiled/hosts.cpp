// SPDX-License-Identifier: Apache-2.0
// Empty: the target that makes the precompiled header needs a source.
