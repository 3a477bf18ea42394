// The program, read once from first word to last, and a FIFO of packets for each process.
module packet_queues #(
    parameter int BURST_BEATS = 16
) (
    input  logic        clk,
    input  logic        reset,
    input  logic        start,
    input  logic [31:0] program_at,
    input  logic [31:0] words,
    // All words were handed out, and so many calls begin with them.
    output logic        handed_out,
    output logic [31:0] calls,
    output logic        ar_valid,
    input  logic        ar_ready,
    output logic [31:0] ar_address,
    output logic [7:0]  ar_len,
    input  logic        r_valid,
    output logic        r_ready,
    input  logic [63:0] r_data,
    input  logic        r_last,
    output logic [9:0]  out_valid,
    input  logic [9:0]  out_ready,
    output logic [639:0] out_data
);
    // Numbers of receivers in the program; those with the numbers of a layer have deep FIFOs.
    localparam int SPATIAL = 3, SPATIAL_SCALE = 4, POINTWISE_SCALE = 7, STORE = 9;

    logic beat_valid, beat_ready, word_valid, word_ready, unused_may;
    logic [63:0] beat, word, packet;
    logic [9:0] packet_valid, packet_ready;
    logic [31:0] left;
    logic is_head;

    linear_reader #(.DATA_BITS(64), .OUTSTANDING(4)) reader (
        .clk, .reset, .start, .may_start(unused_may), .start_address(program_at), .start_beats(words),
        .burst(9'(BURST_BEATS)), .ar_valid, .ar_ready, .ar_address, .ar_len, .r_valid, .r_ready, .r_data, .r_last,
        .out_valid(beat_valid), .out_ready(beat_ready), .out_data(beat)
    );
    fifo #(.WIDTH(64), .DEPTH(64)) fetched (
        .clk, .reset, .in_valid(beat_valid), .in_ready(beat_ready), .in_data(beat),
        .out_valid(word_valid), .out_ready(word_ready), .out_data(word)
    );
    dispatch dispatcher (
        .clk, .reset, .in_valid(word_valid), .in_ready(word_ready), .in_data(word), .is_head,
        .out_valid(packet_valid), .out_ready(packet_ready), .out_data(packet)
    );

    for (genvar index = 0; index < 10; index++) begin : receivers
        localparam bit DEEP = index == SPATIAL || index == SPATIAL_SCALE || index == POINTWISE_SCALE;
        fifo #(.WIDTH(64), .DEPTH(DEEP ? 512 : 64), .STYLE(DEEP ? "block" : "distributed")) queue (
            .clk, .reset, .in_valid(packet_valid[index]), .in_ready(packet_ready[index]), .in_data(packet),
            .out_valid(out_valid[index]), .out_ready(out_ready[index]), .out_data(out_data[64*index +: 64])
        );
    end

    assign handed_out = left == '0;

    always_ff @(posedge clk) begin
        if (word_valid && word_ready) begin
            left <= left - 32'd1;
            if (is_head && word[3:0] == 4'(STORE)) calls <= calls + 32'd1;
        end
        if (start) begin
            left  <= words;
            calls <= '0;
        end
        if (reset) begin
            left  <= '0;
            calls <= '0;
        end
    end
endmodule
