# Buses, devices, boot, and the machine that joins them.
target_sources(snowglobe_vm PRIVATE
  bus/port_map.cc
  devices/deadline_timer.cc
  devices/pci.cc
  devices/pic.cc
  devices/pit.cc
  devices/rtc.cc
  devices/system_ports.cc
  devices/uart.cc
  devices/virtio/block.cc
  devices/virtio/block_async.cc
  devices/virtio/console.cc
  devices/virtio/device.cc
  devices/virtio/entropy.cc
  devices/virtio/net.cc
  devices/virtio/pci.cc
  devices/virtio/queue.cc
  boot/elf.cc
  boot/linux.cc
  attention_ticker.cc
  machine.cc
  machine_board.cc
  machine_core.cc
  machine_state.cc)
