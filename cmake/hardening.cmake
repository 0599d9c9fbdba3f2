# SPDX-License-Identifier: Apache-2.0
# Hardening that costs nothing measurable: checked libc calls (optimised builds without sanitizers, which bring their own),
# stack protectors, read-only relocations.
target_compile_options(rkf_flags INTERFACE -fstack-protector-strong)
if(NOT RKF_SANITIZE)
  target_compile_options(rkf_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()
target_link_options(rkf_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
