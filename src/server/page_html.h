/* SPDX-License-Identifier: Apache-2.0 */
/* page.html as bytes, made by the build (embed_file.cmake). */
#ifndef RKF_SERVER_PAGE_HTML_H
#define RKF_SERVER_PAGE_HTML_H

#include <stddef.h>

extern const unsigned char page_html[];
extern const size_t page_html_size;

#endif
