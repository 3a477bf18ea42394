// Reads a run of memory, burst after burst; bursts are asked for while others arrive.
module linear_reader #(
    parameter int DATA_BITS   = 64,
    parameter int OUTSTANDING = 4
) (
    input  logic                 clk,
    input  logic                 reset,
    input  logic                 start,
    output logic                 may_start,
    input  logic [31:0]          start_address,
    input  logic [31:0]          start_beats,
    input  logic [8:0]           burst,
    output logic                 ar_valid,
    input  logic                 ar_ready,
    output logic [31:0]          ar_address,
    output logic [7:0]           ar_len,
    input  logic                 r_valid,
    output logic                 r_ready,
    input  logic [DATA_BITS-1:0] r_data,
    input  logic                 r_last,
    output logic                 out_valid,
    input  logic                 out_ready,
    output logic [DATA_BITS-1:0] out_data
);
    localparam int SHIFT = $clog2(DATA_BITS / 8);

    logic [31:0] address, left;
    logic [8:0]  beats;
    logic        command, taken, unused_idle;

    assign beats = left > 32'(burst) ? burst : left[8:0];
    assign command = left != '0;
    assign may_start = left == '0;

    burst_split #(.BEAT_BYTES(DATA_BITS / 8), .OUTSTANDING(OUTSTANDING)) split (
        .clk, .reset,
        .in_valid(command), .in_ready(taken), .in_address(address), .in_beats(beats),
        .out_valid(ar_valid), .out_ready(ar_ready), .out_address(ar_address), .out_len(ar_len),
        .ended(r_valid && r_ready && r_last), .idle(unused_idle)
    );

    assign out_valid = r_valid;
    assign out_data = r_data;
    assign r_ready = out_ready;

    always_ff @(posedge clk) begin
        if (command && taken) begin
            address <= address + (32'(beats) << SHIFT);
            left    <= left - 32'(beats);
        end
        if (start && may_start) begin
            address <= start_address;
            left    <= start_beats;
        end
        if (reset) left <= '0;
    end
endmodule
