# Devices, boot and the machine that joins them.
