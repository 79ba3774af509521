/* MQTT 3.1.1, as much of it as publishing takes. TLS is not here: gabion-tls is the other end of the connection, in the same box.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef MQTT_H
#define MQTT_H

#include <stdint.h>

/* Connects to a port of the loopback and says CONNECT. A descriptor, or a negative errno. */
int mqtt_connect(uint16_t port);

/* Publishes with QoS 1, and is back when the broker has it. 0, or a negative errno, after which the connection is of no use. */
int mqtt_publish(int broker, const char *topic, const char *message);

#endif
