// Commands of any bytes and up to a burst's beats to addresses of a bus: what crosses 4 KiB becomes two bursts.
module burst_split #(
    parameter int BEAT_BYTES  = 8,
    parameter int OUTSTANDING = 8
) (
    input  logic        clk,
    input  logic        reset,
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [31:0] in_address,
    input  logic [8:0]  in_beats,
    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_address,
    output logic [7:0]  out_len,
    // A burst has ended; no more than OUTSTANDING are under way.
    input  logic        ended,
    output logic        idle
);
    localparam int SHIFT = $clog2(BEAT_BYTES);
    localparam int PAGE = 12 - SHIFT;

    logic        active;
    logic [31:0] address;
    logic [8:0]  beats, now;
    logic [PAGE:0] to_page_end;
    logic [$clog2(OUTSTANDING):0] under_way;

    assign to_page_end = (PAGE + 1)'(1 << PAGE) - {1'b0, address[11:SHIFT]};
    assign now = 32'(beats) > 32'(to_page_end) ? 9'(to_page_end) : beats;
    assign out_valid = active && under_way != ($clog2(OUTSTANDING) + 1)'(OUTSTANDING);
    assign out_address = address;
    assign out_len = 8'(now - 9'd1);
    assign in_ready = !active || (out_valid && out_ready && now == beats);
    assign idle = !active && under_way == '0;

    always_ff @(posedge clk) begin
        if (out_valid && out_ready) begin
            address <= address + (32'(now) << SHIFT);
            beats   <= beats - now;
            if (now == beats) active <= 1'b0;
        end
        if (in_valid && in_ready) begin
            active  <= 1'b1;
            address <= in_address;
            beats   <= in_beats;
        end
        case ({out_valid && out_ready, ended})
            2'b10: under_way <= under_way + 1'b1;
            2'b01: under_way <= under_way - 1'b1;
            default: ;
        endcase
        if (reset) begin
            active    <= 1'b0;
            under_way <= '0;
        end
    end
endmodule
