;; A small proxy-wasm module for the host's own tests. The first letter of the request header `x-do` says what
;; `proxy_on_request_headers` does; the first letter of the plugin configuration says how the root behaves:
;;   t  tick every 10 ms          f  tick every 5 ms       c  as t, and an HTTP call from each tick
;;   q  consume the shared queue  n  answer false          b  trap
(module
  (import "env" "proxy_log" (func $proxy_log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $send_local_response (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $become (param i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register_queue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve_queue (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $wall (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 2)
  ;; 0 pointer out, 4 length out, 8 number out, 16 steady time, 24 wall time, 32 metric id, 40 one digit
  (data (i32.const 100) "x-do")
  (data (i32.const 110) "x-lane")
  (data (i32.const 120) "reserved")
  (data (i32.const 130) "over quota")
  (data (i32.const 150) "\01\00\00\00\0b\00\00\00\01\00\00\00retry-after\001\00")
  (data (i32.const 200) "key")
  (data (i32.const 210) "time")
  (data (i32.const 220) "ticks")
  (data (i32.const 230) "x-status")
  (data (i32.const 240) "controller")
  (data (i32.const 250) "\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\08\00\00\00\0a\00\00\00\07\00\00\00:method\00POST\00:path\00/v1/sync\00:authority\00forebay\00")
  (data (i32.const 400) "report")
  (data (i32.const 410) "call failed")
  (data (i32.const 430) "log")
  (data (i32.const 440) "done")
  (data (i32.const 450) "delete")
  (data (i32.const 460) "refused")
  (data (i32.const 470) "queue")

  (global $heap (mut i32) (i32.const 4096))
  (global $mode (mut i32) (i32.const 0))
  (global $waiting (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (local.get $at))

  (func $say (param $ptr i32) (param $len i32)
    (drop (call $proxy_log (i32.const 2) (local.get $ptr) (local.get $len))))

  (func (export "proxy_on_configure") (param $root i32) (param $size i32) (result i32)
    (drop (call $get_buffer (i32.const 7) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (global.set $mode (i32.load8_u (i32.load (i32.const 0))))
    (if (i32.eq (global.get $mode) (i32.const 98)) (then (unreachable)))
    (if (i32.eq (global.get $mode) (i32.const 110)) (then
      (call $say (i32.const 460) (i32.const 7))
      (return (i32.const 0))))
    (if (i32.eq (global.get $mode) (i32.const 113)) (then
      (drop (call $register_queue (i32.const 470) (i32.const 5) (i32.const 8)))))
    (drop (call $define_metric (i32.const 0) (i32.const 220) (i32.const 5) (i32.const 32)))
    (if (i32.or (i32.eq (global.get $mode) (i32.const 116)) (i32.eq (global.get $mode) (i32.const 99)))
      (then (drop (call $set_tick (i32.const 10)))))
    (if (i32.eq (global.get $mode) (i32.const 102)) (then (drop (call $set_tick (i32.const 5)))))
    (i32.const 1))

  (func (export "proxy_on_tick") (param $root i32)
    (drop (call $increment (i32.load (i32.const 32)) (i64.const 1)))
    (if (global.get $waiting) (then
      (if (i32.eqz (call $become (global.get $waiting))) (then
        (drop (call $add_header (i32.const 0) (i32.const 110) (i32.const 6) (i32.const 120) (i32.const 8)))
        (drop (call $continue (i32.const 0)))))
      (global.set $waiting (i32.const 0))
      (drop (call $become (local.get $root)))))
    (if (i32.eq (global.get $mode) (i32.const 99)) (then
      (drop (call $http_call (i32.const 240) (i32.const 10) (i32.const 250) (i32.const 75)
        (i32.const 400) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 8))))))

  (func (export "proxy_on_queue_ready") (param $root i32) (param $token i32)
    (if (i32.eqz (call $dequeue (local.get $token) (i32.const 0) (i32.const 4)))
      (then (call $say (i32.load (i32.const 0)) (i32.load (i32.const 4))))))

  (func (export "proxy_on_http_call_response")
    (param $context i32) (param $token i32) (param $headers i32) (param $body i32) (param $trailers i32)
    (if (i32.eqz (local.get $headers)) (then
      (call $say (i32.const 410) (i32.const 11))
      (return)))
    (drop (call $get_buffer (i32.const 4) (i32.const 0) (local.get $body) (i32.const 0) (i32.const 4)))
    (call $say (i32.load (i32.const 0)) (i32.load (i32.const 4))))

  (func $refuse
    (drop (call $send_local_response (i32.const 429) (i32.const 130) (i32.const 10)
      (i32.const 130) (i32.const 4) (i32.const 150) (i32.const 26) (i32.const 8))))

  ;; Counts in shared data with compare-and-set; the status of the set goes into a header.
  (func $count
    (local $cas i32) (local $value i32)
    (if (i32.eqz (call $get_shared (i32.const 200) (i32.const 3) (i32.const 0) (i32.const 4) (i32.const 8)))
      (then
        (local.set $cas (i32.load (i32.const 8)))
        (local.set $value (i32.load8_u (i32.load (i32.const 0)))))
      (else (local.set $cas (i32.const 77))))
    (i32.store8 (i32.const 41) (i32.add (local.get $value) (i32.const 1)))
    (i32.store8 (i32.const 40) (i32.add (i32.const 48)
      (call $set_shared (i32.const 200) (i32.const 3) (i32.const 41) (i32.const 1) (local.get $cas))))
    (drop (call $add_header (i32.const 0) (i32.const 230) (i32.const 8) (i32.const 40) (i32.const 1))))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (local $do i32)
    (if (call $get_header (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 0) (i32.const 4))
      (then (return (i32.const 0))))
    (local.set $do (i32.load8_u (i32.load (i32.const 0))))
    ;; h: header
    (if (i32.eq (local.get $do) (i32.const 104)) (then
      (drop (call $add_header (i32.const 0) (i32.const 110) (i32.const 6) (i32.const 120) (i32.const 8)))))
    ;; l: local reply
    (if (i32.eq (local.get $do) (i32.const 108)) (then (call $refuse)))
    ;; p: pause
    (if (i32.eq (local.get $do) (i32.const 112)) (then
      (global.set $waiting (local.get $context))
      (return (i32.const 1))))
    ;; o: local reply for the waiting stream, then continue with this one
    (if (i32.eq (local.get $do) (i32.const 111)) (then
      (drop (call $become (global.get $waiting)))
      (call $refuse)
      (global.set $waiting (i32.const 0))
      (drop (call $become (local.get $context)))))
    ;; t: trap
    (if (i32.eq (local.get $do) (i32.const 116)) (then (unreachable)))
    ;; i: endless loop
    (if (i32.eq (local.get $do) (i32.const 105)) (then (loop $again (br $again))))
    ;; k: compare-and-set
    (if (i32.eq (local.get $do) (i32.const 107)) (then (call $count)))
    ;; c: both clocks into a property
    (if (i32.eq (local.get $do) (i32.const 99)) (then
      (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 16)))
      (drop (call $wall (i32.const 24)))
      (drop (call $set_property (i32.const 210) (i32.const 4) (i32.const 16) (i32.const 16)))))
    ;; q: enqueue the word "report"
    (if (i32.eq (local.get $do) (i32.const 113)) (then
      (drop (call $resolve_queue (i32.const 0) (i32.const 0) (i32.const 470) (i32.const 5) (i32.const 8)))
      (drop (call $enqueue (i32.load (i32.const 8)) (i32.const 400) (i32.const 6)))))
    ;; m: read the memory far outside; the status goes into a header
    (if (i32.eq (local.get $do) (i32.const 109)) (then
      (i32.store8 (i32.const 40) (i32.add (i32.const 48)
        (call $add_header (i32.const 0) (i32.const -8) (i32.const 6) (i32.const 120) (i32.const 8))))
      (drop (call $add_header (i32.const 0) (i32.const 230) (i32.const 8) (i32.const 40) (i32.const 1)))))
    (i32.const 0))

  ;; Says every piece of the response's body.
  (func (export "proxy_on_response_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (drop (call $get_buffer (i32.const 1) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (call $say (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (i32.const 0))

  (func (export "proxy_on_log") (param i32) (call $say (i32.const 430) (i32.const 3)))
  (func (export "proxy_on_done") (param i32) (result i32)
    (call $say (i32.const 440) (i32.const 4))
    (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $say (i32.const 450) (i32.const 6))))
