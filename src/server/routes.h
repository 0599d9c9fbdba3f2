/* SPDX-License-Identifier: Apache-2.0 */
/* The route table: method, path, what it is allowed to whom, and what it does. /openapi.json is made from it. */
#ifndef RKF_SERVER_ROUTES_H
#define RKF_SERVER_ROUTES_H

#include "server/call.h"
#include "server/fields.h"

struct exchange;
enum outcome;

enum route_flags {
    ROUTE_PUBLIC = 1 << 0, /* no API key */
    ROUTE_ADMIN = 1 << 1,  /* the administrator's key */
    ROUTE_STRICT = 1 << 2, /* the body's content type must be JSON, as the peer insists */
    ROUTE_HIDDEN = 1 << 3, /* an alias: not in /openapi.json */
};
enum { ROUTE_ENDPOINTS = 3 };

struct route {
    const char *method; /* GET counts for HEAD too */
    const char *path;   /* ends in a star: any ending */
    unsigned flags;
    enum dialect dialect; /* errors, while no endpoint is known */
    /* A POST with a model: the endpoint whose body's key the body has, else the last. */
    const struct endpoint *endpoints[ROUTE_ENDPOINTS];
    bool natural; /* the endpoint is the one that the model is for */
    /* Everything else. */
    enum outcome (*handle)(struct exchange *x);
    const struct body *body; /* what handle reads */
    const char *name, *type, *answer, *summary;
};

extern const struct route routes[];
extern const int route_count;

/* The route of this method and path; *known: the path exists, perhaps for other methods. *rest: see exchange.h. */
const struct route *route_find(const char *method, const char *path, bool *known, const char **rest);
/* The endpoint for a parsed body; model: NULL if none was named (only natural routes look at it). */
const struct endpoint *route_endpoint(const struct route *r, yyjson_val *root, const struct model *model);

/* The description of all routes, true for the models that are loaded; keys: clients need one; devices: a JSON
 * list of those that models may ask for. */
void openapi_write(struct registry *models, bool keys, const char *devices, struct buf *out);
/* What the natural routes do with a model of this kind. */
const struct endpoint *route_natural(const struct model *model);

#endif
