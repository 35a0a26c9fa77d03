"""confluent-kafka, its groups by the protocol of KIP-848."""

import confluent


class Client(confluent.Client):
    protocol = "consumer"
