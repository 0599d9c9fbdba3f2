# SPDX-License-Identifier: Apache-2.0
# A file as a C array: cmake -DIN=page.html -DOUT=page_html.c -DNAME=page_html -P embed_file.cmake
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" length)
math(EXPR size "${length} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f])" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
file(WRITE ${OUT} "#include \"server/${NAME}.h\"\nconst unsigned char ${NAME}[] = {\n${hex}\n};\nconst size_t ${NAME}_size = ${size};\n")
